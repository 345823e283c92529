//! On what terms a call is made and billed, read from what was asked and from what was answered.
//!
//! Prices are not known here. Invariant: whatever a body says, the number of calls of a tool that is
//! taken from it is bounded; what is absurd counts as what was reserved for it.

use paceline_budget::{Region, Service, Terms, Tool};
use paceline_transport::BaseUrl;
use serde_json::{Map, Value};

/// What a call asks for, as far as its price depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AskedTerms {
    /// With one call of a tool, where it may call any.
    pub(crate) expected: Terms,
    /// With as many as it may make.
    pub(crate) most: Terms,
    service: Service,
    region: Region,
    /// The dearest of the tools that it may call.
    dearest: Option<Tool>,
}

/// Where answers are a tenth dearer.
const UNITED_STATES: &str = "us.api.x.ai";
/// Calls of tools that one request is taken to make at most, where it does not say `max_turns`.
const TURNS: u64 = 10;
/// Sources that Live Search reads at most, where the request does not say it: its documented default.
const SOURCES: u64 = 20;
/// Nobody's request makes more calls of a tool than this.
const MOST_CALLS: u64 = 10_000;

impl AskedTerms {
    /// The terms of a request with this body, to a server.
    pub(crate) fn of(body: &Map<String, Value>, base: &BaseUrl) -> Self {
        let service = match body.get("service_tier").and_then(Value::as_str) {
            Some(tier) => service(tier),
            None => Service::Default,
        };
        let region = region(base.host());
        let tools = body.get("tools").and_then(Value::as_array);
        let kinds = tools.into_iter().flatten().filter_map(|tool| tool.get("type")?.as_str());
        let dearest = kinds.filter_map(tool).max_by_key(|tool| tool.fee());
        let plain = Terms::new().service(service).region(region);
        let (mut expected, mut most) = (plain, plain);
        if let Some(tool) = dearest {
            let turns = body.get("max_turns").and_then(Value::as_u64).unwrap_or(TURNS);
            expected = expected.tool_calls(tool, 1);
            most = most.tool_calls(tool, bounded(turns.max(1)));
        }
        if let Some(search) = body.get("search_parameters").filter(|search| is_on(search)) {
            let sources = search.get("max_search_results").and_then(Value::as_u64);
            let sources = bounded(sources.unwrap_or(SOURCES));
            expected = expected.tool_calls(Tool::LiveSearch, sources.div_ceil(2));
            most = most.tool_calls(Tool::LiveSearch, sources);
        }
        Self { expected, most, service, region, dearest }
    }

    /// The terms on which an answer is billed, by the service tier and the usage that it tells. What it
    /// does not tell is as it was asked.
    pub(crate) fn billed(&self, tier: Option<&str>, usage: Option<&Value>) -> Terms {
        let service = tier.map_or(self.service, service);
        let plain = Terms::new().service(service).region(self.region);
        // Fees that can't be read are those that were reserved.
        usage
            .map_or(Some(plain), |usage| self.fees(plain, usage))
            .unwrap_or_else(|| self.most.service(service))
    }

    /// With the calls of tools that a usage tells; `None` where it tells what can't be.
    fn fees(&self, plain: Terms, usage: &Value) -> Option<Terms> {
        if let Some(details) =
            usage.get("server_side_tool_usage_details").and_then(Value::as_object)
        {
            return details.iter().try_fold(plain, |terms, (name, calls)| {
                Some(match counter(name) {
                    Some(tool) => terms.tool_calls(tool, count(calls)?),
                    None => terms,
                })
            });
        }
        let told = |field: &str| usage.get(field).map_or(Some(0), count);
        let dearest = self.dearest.unwrap_or(Tool::AttachmentSearch);
        Some(
            plain
                .tool_calls(dearest, told("num_server_side_tools_used")?)
                .tool_calls(Tool::LiveSearch, told("num_sources_used")?),
        )
    }
}

/// The terms on which a permit is used, of which only the server is known.
pub(crate) fn region_of(base: &BaseUrl) -> Terms {
    Terms::new().region(region(base.host()))
}

fn region(host: &str) -> Region {
    if host == UNITED_STATES { Region::UnitedStates } else { Region::Global }
}

/// `fast` is another word for `priority`.
fn service(tier: &str) -> Service {
    match tier {
        "priority" | "fast" => Service::Priority,
        _ => Service::Default,
    }
}

/// The tool of a request that the server calls at a fee, by its type.
fn tool(kind: &str) -> Option<Tool> {
    Some(match kind {
        "web_search" | "web_search_preview" | "live_search" => Tool::WebSearch,
        "x_search" => Tool::XSearch,
        "code_interpreter" | "code_execution" => Tool::CodeExecution,
        "attachment_search" => Tool::AttachmentSearch,
        "file_search" | "collections_search" => Tool::FileSearch,
        "image_generation" => Tool::ImageGeneration,
        _ => return None,
    })
}

/// The tool whose calls a usage counts under this name. Those that cost only tokens have none.
fn counter(name: &str) -> Option<Tool> {
    Some(match name {
        "web_search_calls" => Tool::WebSearch,
        "x_search_calls" => Tool::XSearch,
        "code_interpreter_calls" => Tool::CodeExecution,
        "file_search_calls" => Tool::FileSearch,
        // Of attachments or of collections: the dearer of the two.
        "document_search_calls" => Tool::AttachmentSearch,
        "image_generation_calls" => Tool::ImageGeneration,
        _ => return None,
    })
}

fn is_on(search: &Value) -> bool {
    search.is_object() && search.get("mode").and_then(Value::as_str) != Some("off")
}

fn bounded(calls: u64) -> u32 {
    u32::try_from(calls.min(MOST_CALLS)).unwrap_or(u32::MAX)
}

/// A number of calls; nothing where it is none, or absurd.
fn count(value: &Value) -> Option<u32> {
    if value.is_null() {
        return Some(0);
    }
    let calls = value.as_u64().filter(|calls| *calls <= MOST_CALLS)?;
    u32::try_from(calls).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(host: &str, body: &Value) -> AskedTerms {
        let base = BaseUrl::parse(&format!("https://{host}/v1")).expect("an address");
        AskedTerms::of(body.as_object().expect("an object"), &base)
    }

    #[test]
    fn the_tier_and_the_region_are_as_asked_until_the_answer_says_otherwise() {
        for tier in ["priority", "fast"] {
            let asked = asked("us.api.x.ai", &json!({ "service_tier": tier }));
            let plain = Terms::new().region(Region::UnitedStates);
            assert_eq!(asked.most, plain.service(Service::Priority));
            assert_eq!(asked.expected, asked.most);
            assert_eq!(asked.billed(None, None), asked.most);
            assert_eq!(asked.billed(Some("default"), None), plain);
        }
        let plain = asked("api.x.ai", &json!({ "service_tier": "default" }));
        assert_eq!(plain.most, Terms::new());
        let billed = plain.billed(Some("priority"), None);
        assert_eq!(billed, Terms::new().service(Service::Priority));
    }

    #[test]
    fn tools_are_reserved_at_the_dearest_and_billed_as_counted() {
        let tools =
            json!([{ "type": "file_search" }, { "type": "web_search" }, { "type": "function" }]);
        let search = |tool, calls| Terms::new().tool_calls(tool, calls);
        let asked_tools = asked("api.x.ai", &json!({ "tools": tools }));
        assert_eq!(asked_tools.expected, search(Tool::WebSearch, 1));
        assert_eq!(asked_tools.most, search(Tool::WebSearch, 10));
        let turns = asked("api.x.ai", &json!({ "tools": tools, "max_turns": 3 }));
        assert_eq!(turns.most, search(Tool::WebSearch, 3));
        assert_eq!(
            asked("api.x.ai", &json!({ "tools": [{ "type": "function" }] })).most,
            Terms::new()
        );
        let usage = json!({ "num_sources_used": 9, "num_server_side_tools_used": 3,
            "server_side_tool_usage_details":
                { "web_search_calls": 2, "file_search_calls": 1, "mcp_calls": 5, "x_search_calls": null } });
        let billed = search(Tool::WebSearch, 2).tool_calls(Tool::FileSearch, 1);
        assert_eq!(asked_tools.billed(None, Some(&usage)), billed);
        let without = json!({ "num_server_side_tools_used": 3 });
        assert_eq!(asked_tools.billed(None, Some(&without)), search(Tool::WebSearch, 3));
    }

    #[test]
    fn live_search_is_reserved_and_billed_by_its_sources() {
        let sources = |count| Terms::new().tool_calls(Tool::LiveSearch, count);
        let search =
            |parameters: Value| asked("api.x.ai", &json!({ "search_parameters": parameters }));
        assert_eq!(search(json!({ "mode": "on" })).most, sources(20));
        assert_eq!(search(json!({ "max_search_results": 5 })).most, sources(5));
        assert_eq!(search(json!({ "mode": "off" })).most, Terms::new());
        assert_eq!(search(json!(null)).most, Terms::new());
        let usage = json!({ "num_sources_used": 7 });
        assert_eq!(search(json!({})).billed(None, Some(&usage)), sources(7));
    }

    #[test]
    fn counts_that_can_not_be_are_what_was_reserved() {
        let tools = json!({ "tools": [{ "type": "web_search" }], "max_turns": u64::MAX });
        let asked = asked("api.x.ai", &tools);
        assert_eq!(asked.most, Terms::new().tool_calls(Tool::WebSearch, 10_000));
        for absurd in [json!(-1), json!(1.5), json!("7"), json!(1e15 as u64), json!([])] {
            let usage = json!({ "server_side_tool_usage_details": { "web_search_calls": absurd } });
            assert_eq!(asked.billed(None, Some(&usage)), asked.most, "{absurd}");
            let usage = json!({ "num_sources_used": absurd });
            assert_eq!(asked.billed(None, Some(&usage)), asked.most, "{absurd}");
        }
    }
}
