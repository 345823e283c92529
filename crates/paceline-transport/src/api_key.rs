//! The secret that calls are authorised with.
//!
//! What this file keeps: the key appears in no `Debug`, `Display`, error or serialised form, and
//! its memory is cleared when the last copy of it is dropped.

use std::borrow::Cow;
use std::fmt;

use http::HeaderValue;
use zeroize::Zeroizing;

/// An API key. It can be sent, but not shown.
///
/// ```
/// use paceline_transport::ApiKey;
/// let key = ApiKey::new("xai-0123456789abcdef")?;
/// assert_eq!(format!("{key:?}"), "ApiKey([redacted])");
/// assert!(key.authorization().is_sensitive());
/// # Ok::<(), paceline_transport::ApiKeyError>(())
/// ```
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

/// Why a text is not an API key. It never shows the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// There was nothing in it.
    #[error("the API key is empty; set it to the key from the provider's console")]
    Empty,
    /// It can't stand in an HTTP header.
    #[error(
        "the API key holds a space, a line break or another character no key has; copy it again, without quotes and without a line end"
    )]
    IllegalCharacter,
    /// It is longer than [`ApiKey::MAX_LENGTH`].
    #[error("the API key is longer than 4096 characters; is it a file of another kind?")]
    TooLong,
}

impl ApiKey {
    /// The longest key that is taken, in bytes.
    pub const MAX_LENGTH: usize = 4096;

    /// A key of visible ASCII characters.
    ///
    /// # Errors
    /// [`ApiKeyError`] where it is empty, too long, or can't stand in a header. Nothing is
    /// trimmed.
    pub fn new(key: impl Into<String>) -> Result<Self, ApiKeyError> {
        let key = Zeroizing::new(key.into());
        if key.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if key.len() > Self::MAX_LENGTH {
            return Err(ApiKeyError::TooLong);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::IllegalCharacter);
        }
        Ok(Self(key))
    }

    /// A text in which this key does not stand any more, wherever it did. Keys of less than eight
    /// characters are left, because they stand in every text.
    pub fn redacted<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let key = self.0.as_bytes();
        let mut rest = text;
        let mut clean = Vec::new();
        if key.len() >= LEAST_REDACTED {
            while let Some(at) = rest.windows(key.len()).position(|part| part == key) {
                clean.extend_from_slice(&rest[..at]);
                clean.extend_from_slice(b"[redacted]");
                rest = &rest[at + key.len()..];
            }
        }
        if clean.is_empty() {
            return Cow::Borrowed(text);
        }
        clean.extend_from_slice(rest);
        Cow::Owned(clean)
    }

    /// The value of the `Authorization` header, marked as sensitive. The copy in it is cleared
    /// by nobody: make one per request and let it go with the request.
    pub fn authorization(&self) -> HeaderValue {
        let text = Zeroizing::new(format!("Bearer {}", self.0.as_str()));
        let mut value = HeaderValue::from_str(&text).expect("`new` took visible ASCII only");
        value.set_sensitive(true);
        value
    }
}

/// A shorter key is a word of a test.
const LEAST_REDACTED: usize = 8;

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "xai-0123456789abcdef";

    #[test]
    fn a_key_is_taken_out_of_any_text() {
        let key = ApiKey::new("gsk_AbC/dEf+0123=").expect("legal");
        let text = b"bad gsk_AbC/dEf+0123=, really gsk_AbC/dEf+0123=";
        assert_eq!(&*key.redacted(text), b"bad [redacted], really [redacted]");
        assert_eq!(&*key.redacted(b"gsk_AbC/dEf+0123=\xff"), b"[redacted]\xff");
        assert!(matches!(key.redacted(b"nothing of it"), Cow::Borrowed(b"nothing of it")));
        let short = ApiKey::new("k").expect("legal");
        assert_eq!(&*short.redacted(b"kk"), b"kk");
    }

    #[test]
    fn it_is_sent_but_not_shown() {
        let key = ApiKey::new(SECRET).expect("a legal key");
        assert_eq!(key.authorization().as_bytes(), b"Bearer xai-0123456789abcdef");
        assert!(!format!("{key:?} {:?}", key.authorization()).contains("0123"));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_refused_without_showing_it() {
        assert_eq!(ApiKey::new("").err(), Some(ApiKeyError::Empty));
        for bad in ["xai-012\n", "xai 012", "\"xai-012é\"", "xai-012\0"] {
            let error = ApiKey::new(bad).expect_err("illegal");
            assert_eq!(error, ApiKeyError::IllegalCharacter);
            assert!(!format!("{error} {error:?}").contains("012"));
        }
        assert!(ApiKey::new("k".repeat(ApiKey::MAX_LENGTH)).is_ok());
        assert_eq!(
            ApiKey::new("k".repeat(ApiKey::MAX_LENGTH + 1)).err(),
            Some(ApiKeyError::TooLong)
        );
    }
}
