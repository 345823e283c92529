//! One row: the calls it takes, and what they come to.

use paceline::{Chat, Client, Error};
use paceline_core::{Money, UnixMillis, Usage};
use serde_json::{Map, Value, json};

use crate::args::RunArgs;
use crate::input::{Row, RowRequest};
use crate::output::{OutRow, RowResult};
use crate::tally::Tally;

/// What is the same for every row.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    model: String,
    system: Option<String>,
    max_output_tokens: Option<u64>,
    tag: Option<String>,
}

/// What became of a row.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) row: Row,
    pub(crate) model: String,
    pub(crate) result: Result<Value, Error>,
    usage: Option<Usage>,
    cost: Option<Money>,
    attempts: u32,
    sent_at: Option<UnixMillis>,
    finished_at: Option<UnixMillis>,
    /// The call whose answer this has last; to be told to the tally once it is written.
    pub(crate) last_call: Option<String>,
}

impl Settings {
    pub(crate) fn new(args: &RunArgs) -> Self {
        Self {
            model: args.model.clone(),
            system: args.system.clone(),
            max_output_tokens: args.max_output_tokens.map(Into::into),
            tag: args.tag.clone(),
        }
    }

    /// As it goes into ids and into the journal: what changes answers.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "model": self.model,
            "system": self.system,
            "max_output_tokens": self.max_output_tokens,
        })
    }

    /// The chats of a row: one, or one per turn, of which the later ones still lack the answers.
    pub(crate) fn chats(&self, row: &Row) -> Vec<Chat> {
        match &row.request {
            RowRequest::Body(body) => vec![self.batch(body)],
            RowRequest::Messages(messages) => {
                let start = self.start(messages.first());
                vec![messages.iter().cloned().fold(start, Chat::message)]
            }
            RowRequest::Turns(turns) => {
                let start = || self.start(None);
                (1..=turns.len()).map(|n| turns[..n].iter().fold(start(), Chat::user)).collect()
            }
        }
    }

    fn start(&self, first: Option<&Value>) -> Chat {
        let mut chat = self.tagged(Chat::new(self.model.as_str()));
        if let Some(cap) = self.max_output_tokens {
            chat = chat.max_output_tokens(cap);
        }
        let has_system = first.is_some_and(|message| message["role"] == "system");
        match &self.system {
            Some(system) if !has_system => chat.system(system),
            _ => chat,
        }
    }

    fn tagged(&self, chat: Chat) -> Chat {
        match &self.tag {
            Some(tag) => chat.tag(tag.as_str()),
            None => chat,
        }
    }

    /// A body as it is, with what it lacks.
    fn batch(&self, body: &Map<String, Value>) -> Chat {
        let mut body = body.clone();
        if !body.get("model").is_some_and(Value::is_string) {
            body.insert("model".to_owned(), json!(self.model));
        }
        // Answers are read whole.
        body.remove("stream");
        body.remove("stream_options");
        if let (Some(system), Some(Value::Array(messages))) =
            (&self.system, body.get_mut("messages"))
            && messages.first().is_some_and(|message| message["role"] != "system")
        {
            messages.insert(0, json!({ "role": "system", "content": system }));
        }
        let cap = self.max_output_tokens.filter(|_| !body.contains_key("max_completion_tokens"));
        let chat = Chat::from_body(body).unwrap_or_else(|| Chat::new(self.model.as_str()));
        let chat = self.tagged(chat);
        match cap {
            Some(cap) => chat.max_output_tokens(cap),
            None => chat,
        }
    }

    /// Sends what a row asks, for the `tries`-th time in this run. Names of calls are unique
    /// within it, as records need them to be.
    pub(crate) async fn run(
        &self,
        client: &Client,
        tally: &Tally,
        row: Row,
        tries: u32,
    ) -> Finished {
        let name = if tries > 1 { format!("{}~{tries}", row.id) } else { row.id.clone() };
        let mut finished = Finished {
            model: self.model.clone(),
            result: Ok(Value::Null),
            usage: None,
            cost: None,
            attempts: 0,
            sent_at: None,
            finished_at: None,
            last_call: None,
            row,
        };
        if let RowRequest::Turns(turns) = finished.row.request.clone() {
            let mut chat = self.start(None);
            let mut answers = Vec::new();
            for (number, turn) in turns.iter().enumerate() {
                if let Some(call) = finished.last_call.take() {
                    tally.taken(&call);
                }
                let call = format!("{name}#{}", number + 1);
                finished.last_call = Some(call.clone());
                chat = chat.user(turn).named(call);
                let Some(answer) = finished.call(client, &chat).await else { return finished };
                let text = answer.as_str().unwrap_or_default().to_owned();
                chat = chat.assistant(text);
                answers.push(answer);
            }
            finished.result = Ok(Value::Array(answers));
        } else if let Some(chat) = self.chats(&finished.row).pop() {
            finished.last_call = Some(name.clone());
            let chat = chat.named(name);
            if let Some(answer) = finished.call(client, &chat).await {
                finished.result = Ok(answer);
            }
        }
        finished
    }
}

impl Finished {
    /// One call; adds what it used. `None` where it failed, which is the result then.
    async fn call(&mut self, client: &Client, chat: &Chat) -> Option<Value> {
        match client.chat(chat).await {
            Ok(reply) => {
                self.model = reply.model().as_str().to_owned();
                self.attempts += reply.attempts();
                self.sent_at = Some(reply.sent_at());
                self.finished_at = Some(reply.finished_at());
                self.usage = add(self.usage, reply.usage());
                self.cost = match (self.cost, reply.cost()) {
                    (Some(sum), Some(cost)) => Some(sum + cost),
                    (sum, cost) => sum.or(cost),
                };
                // A message without text, such as a tool call, goes out whole.
                let message = || reply.value().pointer("/choices/0/message").cloned();
                Some(reply.text().map(Value::from).or_else(message).unwrap_or(Value::Null))
            }
            Err(error) => {
                self.attempts += error.attempts();
                self.sent_at = error.sent_at().or(self.sent_at);
                self.finished_at = error.finished_at().or(self.finished_at);
                self.result = Err(error);
                None
            }
        }
    }

    /// The row as it goes out.
    pub(crate) fn out_row(&self) -> OutRow<'_> {
        let result = match &self.result {
            Ok(output) => RowResult::Output(output.clone()),
            Err(error) => RowResult::Error {
                kind: error.kind().name(),
                message: error.to_string(),
                status: error.status(),
            },
        };
        OutRow {
            id: &self.row.id,
            line: self.row.line,
            model: &self.model,
            result,
            usage: self.usage,
            cost: self.cost,
            attempts: self.attempts,
            sent_at: self.sent_at,
            finished_at: self.finished_at,
        }
    }
}

/// The sum of two usages; what is no usage any more is dropped.
fn add(sum: Option<Usage>, more: Option<&Usage>) -> Option<Usage> {
    let Some(more) = more else { return sum };
    let Some(sum) = sum else { return Some(*more) };
    let input = sum.input_tokens() + more.input_tokens();
    let total = sum.total_tokens() + more.total_tokens();
    Usage::new(input, total)
        .and_then(|usage| usage.with_reasoning(sum.reasoning_tokens() + more.reasoning_tokens()))
        .and_then(|usage| {
            usage.with_cached_input(sum.cached_input_tokens() + more.cached_input_tokens())
        })
        .map(|usage| usage.with_certainty(sum.certainty().max(more.certainty())))
        .ok()
}
