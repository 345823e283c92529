//! Where the API is: a checked address that requests are built from.
//!
//! What this file keeps: a key sent to a [`BaseUrl`] goes over TLS or stays on this machine, and
//! the host that is compared is the host that is connected to.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

/// The address below which an API lives, such as `https://api.x.ai` or `https://api.x.ai/v1`.
///
/// `https` to any host; `http` only to loopback (`127.0.0.0/8`, `localhost`, `[::1]`).
///
/// ```
/// use paceline_transport::base_url::BaseUrl;
/// let base = BaseUrl::parse("https://api.x.ai/v1")?;
/// assert!(base.is_xai() && !base.is_loopback());
/// assert_eq!(base.join("/v1/chat/completions"), "https://api.x.ai/v1/chat/completions");
/// # Ok::<(), paceline_transport::base_url::BaseUrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
    /// Empty, or begins with a slash and does not end with one.
    path: String,
}

/// Why a text is not a base address. Each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseUrlError {
    /// There was nothing in it.
    #[error("the base URL is empty; give one such as https://api.x.ai")]
    Empty,
    /// It is longer than 2048 bytes.
    #[error("the base URL is longer than 2048 bytes; give only the address of the API")]
    TooLong,
    /// It is no absolute address.
    #[error("the base URL is not an absolute address; write it as https://host or https://host/v1")]
    NotAbsolute,
    /// Another scheme than http or https.
    #[error("the base URL is neither https nor http; write it as https://host")]
    Scheme,
    /// `http` to a host that is not this machine.
    #[error(
        "the base URL is plain http to another machine, which would send the API key in the clear; use https (http is allowed for 127.0.0.1, localhost and [::1])"
    )]
    Insecure,
    /// A user name or password in it.
    #[error("the base URL holds a user name or password; remove it, the API key goes in a header")]
    UserInfo,
    /// The host has a character that names do not have.
    #[error(
        "the base URL's host has a character that host names do not have; check its spelling (international names in their xn-- form)"
    )]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the base URL's port is not a number from 1 to 65535; correct it or leave it out")]
    Port,
    /// A query or fragment in it.
    #[error("the base URL has a query or a fragment; remove everything from the `?` or `#` on")]
    Query,
}

impl BaseUrl {
    const MAX_LENGTH: usize = 2048;
    /// How much of a path [`BaseUrl::join`] takes, in bytes after encoding.
    const MAX_PATH: usize = 8192;

    /// Checks an address.
    ///
    /// # Errors
    /// [`BaseUrlError`], each of which says what to do. Nothing is trimmed or guessed.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        if text.is_empty() {
            return Err(BaseUrlError::Empty);
        }
        if text.len() > Self::MAX_LENGTH {
            return Err(BaseUrlError::TooLong);
        }
        // `Uri` would drop a fragment without a word.
        if text.contains(['?', '#']) {
            return Err(BaseUrlError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::NotAbsolute)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(BaseUrlError::NotAbsolute);
        };
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::UserInfo);
        }
        let host = authority.host().to_ascii_lowercase();
        check_host(&host)?;
        let port = match authority.as_str().len() == host.len() {
            true => None,
            false => Some(authority.port_u16().filter(|&port| port > 0).ok_or(BaseUrlError::Port)?),
        };
        let base = Self {
            scheme: scheme.clone(),
            host,
            port,
            path: uri.path().trim_end_matches('/').to_owned(),
        };
        match scheme.as_str() {
            "https" => Ok(base),
            "http" if base.is_loopback() => Ok(base),
            "http" => Err(BaseUrlError::Insecure),
            _ => Err(BaseUrlError::Scheme),
        }
    }

    /// The host in lower case, without the port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is xAI's: the host is `x.ai` or ends with `.x.ai`. Such an address is `https`.
    pub fn is_xai(&self) -> bool {
        self.host == "x.ai" || self.host.ends_with(".x.ai")
    }

    /// Whether it is this machine: `127.0.0.0/8`, `localhost` or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(&self.host)
    }

    /// The address of `path` (which may carry a query) below this one.
    ///
    /// A leading slash makes no difference. Where the base ends with the segment that `path`
    /// begins with, such as `v1`, it is not doubled, because both conventions are in use.
    /// Characters that can't stand in an address are percent-encoded, a `#` too; a path of more
    /// than 8192 bytes is cut there, as no server takes one.
    pub fn join(&self, path: &str) -> Uri {
        let path = path.strip_prefix('/').unwrap_or(path);
        let first = path.split(['/', '?']).next().unwrap_or_default();
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let path = match !first.is_empty() && first == last {
            true => path[first.len()..].strip_prefix('/').unwrap_or(&path[first.len()..]),
            false => path,
        };
        let slash = if path.is_empty() || path.starts_with('?') { "" } else { "/" };
        let target = format!("{}{slash}{}", self.path, encode(path, Self::MAX_PATH));
        let target = if target.starts_with('/') { target } else { format!("/{target}") };
        let authority = match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        };
        let target = PathAndQuery::try_from(target).expect("encoded and bounded above");
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(authority)
            .path_and_query(target)
            .build()
            .expect("every part was checked by `parse`")
    }
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

impl std::str::FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        Self::parse(text)
    }
}

/// Whether a host, as it stands in an address, is this machine.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Takes only hosts that every URL parser reads alike, so that the one compared here is the one
/// that is connected to.
fn check_host(host: &str) -> Result<(), BaseUrlError> {
    let legal = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    if legal { Ok(()) } else { Err(BaseUrlError::Host) }
}

/// Percent-encodes what can't stand in a path or query; at most `max` bytes come out.
fn encode(path: &str, max: usize) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(path.len().min(max));
    for byte in path.bytes() {
        let legal = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
        if out.len() + if legal { 1 } else { 3 } > max {
            break;
        }
        if legal {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: BaseUrlError) {
        assert_eq!(BaseUrl::parse(text), Err(error), "{text}");
    }

    #[test]
    fn https_goes_anywhere_and_http_only_to_this_machine() {
        for good in [
            "https://api.x.ai",
            "https://example.org:8443/api/",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://LOCALHOST:1/v1",
            "http://[::1]:9",
        ] {
            assert!(BaseUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.x.ai",
            "http://127.0.0.1.example.org",
            "http://localhost.example.org",
            "http://128.0.0.1",
            "http://[::2]",
            "http://0.0.0.0",
        ] {
            refused(bad, BaseUrlError::Insecure);
        }
    }

    #[test]
    fn what_is_no_base_address_is_refused_with_a_reason() {
        refused("", BaseUrlError::Empty);
        refused("api.x.ai", BaseUrlError::NotAbsolute);
        refused("/v1", BaseUrlError::NotAbsolute);
        refused(" https://api.x.ai", BaseUrlError::NotAbsolute);
        refused("https://", BaseUrlError::NotAbsolute);
        refused("ftp://api.x.ai", BaseUrlError::Scheme);
        refused("https://me:secret@api.x.ai", BaseUrlError::UserInfo);
        refused("https://api.x.ai@example.org", BaseUrlError::UserInfo);
        refused("https://api.x.ai?key=1", BaseUrlError::Query);
        refused("https://api.x.ai/#a", BaseUrlError::Query);
        refused("https://api.x.ai:99999", BaseUrlError::Port);
        refused("https://api.x.ai:0", BaseUrlError::Port);
        refused(&format!("https://{}", "a".repeat(3000)), BaseUrlError::TooLong);
    }

    #[test]
    fn the_errors_hold_nothing_of_the_text() {
        let error = BaseUrl::parse("https://me:s3cret@api.x.ai").expect_err("user info");
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn xai_is_told_by_its_host_alone() {
        for (text, expected) in [
            ("https://api.x.ai", true),
            ("https://x.ai/v1", true),
            ("https://US.api.X.AI", true),
            ("https://api.x.ai.example.org", false),
            ("https://notx.ai", false),
            ("https://example.org/api.x.ai", false),
        ] {
            assert_eq!(BaseUrl::parse(text).expect("legal").is_xai(), expected, "{text}");
        }
    }

    #[test]
    fn a_path_is_joined_under_both_conventions() {
        for (base, path, joined) in [
            ("https://h", "/v1/models", "https://h/v1/models"),
            ("https://h/", "v1/models", "https://h/v1/models"),
            ("https://h/v1", "/v1/models", "https://h/v1/models"),
            ("https://h/v1/", "models?a=b", "https://h/v1/models?a=b"),
            ("https://h:8/x/v1", "v1", "https://h:8/x/v1"),
            ("https://h", "", "https://h/"),
            ("https://h/v1", "v12/a", "https://h/v1/v12/a"),
            ("https://h", "//evil.org/a", "https://h//evil.org/a"),
            ("https://h", "a b#é", "https://h/a%20b%23%C3%A9"),
        ] {
            let base = BaseUrl::parse(base).expect("legal");
            assert_eq!(base.join(path).to_string(), joined);
        }
    }

    #[test]
    fn a_path_that_no_server_takes_is_cut() {
        let base = BaseUrl::parse("https://h").expect("legal");
        assert_eq!(base.join(&"é".repeat(90_000)).path().len(), 1 + 8190);
    }
}
