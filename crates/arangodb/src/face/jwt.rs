//! The tokens of `/_open/auth`: JWTs, as drivers insist on them, around a token of the server.
//!
//! The server's own token is the `jti` and, as nobody else has it, the key of the signature: so a token is revoked with it, ends
//! with a changed password, and there is no secret that signs for everybody. Drivers look at `iss`, `iat` and `exp` and require
//! HS256. Source: `spec/arangodb.md` 1; RFC 7515, RFC 2104.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::wire::json;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Size of the blocks of SHA-256.
const BLOCK: usize = 64;

/// A signed token around one of the server's. Times are seconds since 1970.
pub(crate) fn make(token: &str, user: &str, issued_at: i64, expires_at: i64) -> String {
    let payload = json!({
        "iss": "arangodb", "preferred_username": user, "iat": issued_at, "exp": expires_at, "jti": token,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(HEADER),
        URL_SAFE_NO_PAD.encode(payload.to_string())
    );
    let signature = hmac(token.as_bytes(), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The server's token within a signed one; `None` if it is not signed by it, of another kind, or has expired.
pub(crate) fn open(text: &str, now: i64) -> Option<String> {
    let (signed, signature) = text.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let parse = |part: &str| json::parse_object(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    if parse(header)?.get("alg").and_then(Value::as_str) != Some("HS256") {
        return None;
    }
    let payload = parse(payload)?;
    let token = payload.get("jti")?.as_str()?.to_owned();
    let expires_at = payload.get("exp")?.as_i64()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let expected = hmac(token.as_bytes(), signed.as_bytes());
    let differs = signature.len() != expected.len()
        || signature
            .iter()
            .zip(expected)
            .fold(0, |differs, (a, b)| differs | (a ^ b))
            != 0;
    (!differs && expires_at > now).then_some(token)
}

/// HMAC-SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let bytes = |hex: &str| -> Vec<u8> {
            let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..64).step_by(2).map(pair).collect()
        };
        assert_eq!(
            hmac(b"Jefe", b"what do ya want for nothing?").to_vec(),
            bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        assert_eq!(
            hmac(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )
            .to_vec(),
            bytes("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
        );
    }

    #[test]
    fn a_token_opens_until_it_expires() {
        let text = make("secret", "ada", 100, 200);
        assert_eq!(open(&text, 150).as_deref(), Some("secret"));
        assert_eq!(open(&text, 200), None);
    }

    #[test]
    fn a_token_that_was_changed_does_not_open() {
        let text = make("secret", "ada", 100, 200);
        let parts: Vec<_> = text.split('.').collect();
        let longer =
            json!({"iss": "arangodb", "iat": 100, "exp": 9999, "jti": "secret"}).to_string();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for changed in [
            format!(
                "{}.{}.{}",
                parts[0],
                URL_SAFE_NO_PAD.encode(longer),
                parts[2]
            ),
            format!("{none}.{}.", parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            "secret".to_owned(),
            String::new(),
        ] {
            assert_eq!(open(&changed, 150), None, "{changed}");
        }
    }
}
