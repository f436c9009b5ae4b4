//! Detection of a swapped access key ID and secret, by their shape.

/// Prefixes of the access key IDs of providers.
const STARTS: [&str; 8] = ["AKIA", "ASIA", "DO00", "GK", "GOOG", "LTAI", "SCW", "AKID"];

/// Characters of secrets that no provider uses in an access key ID.
const OF_SECRETS: [char; 3] = ['/', '+', '='];

/// Shortest access key ID of a provider.
const SHORTEST_ID: usize = 16;

/// Whether `id` looks like a secret, and `secret` like an access key ID.
pub(super) fn are_swapped(id: &str, secret: &str) -> bool {
    let known = |text: &str| STARTS.iter().any(|start| text.starts_with(start)) && is_id(text);
    if known(id) {
        return false;
    }
    known(secret)
        || (id.contains(OF_SECRETS) && !secret.contains(OF_SECRETS))
        // All other secrets are longer than their ID.
        || (id.len() > secret.len() && is_id(secret) && id.chars().all(|it| it.is_ascii_alphanumeric() || it == '-'))
}

/// Letters of one case, and digits.
fn is_id(text: &str) -> bool {
    let lower = text.contains(|letter: char| letter.is_ascii_lowercase());
    let upper = text.contains(|letter: char| letter.is_ascii_uppercase());
    let digit = text.contains(|letter: char| letter.is_ascii_digit());
    text.len() >= SHORTEST_ID
        && text.chars().all(|letter| letter.is_ascii_alphanumeric())
        && digit
        && (!(lower && upper)
            || text.starts_with("GK")
            || text.starts_with("LTAI")
            || text.starts_with("AKID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_are_distinguished_from_secrets_per_provider() {
        for (id, secret) in [
            // AWS, Wasabi, Ceph, MinIO.
            ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            ("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY"),
            ("0555B35654AD1656D804", "h7GhxuBLTrlhVUyxSPUKUV8r+2EI4ngqJxD7iBdB"),
            ("0555B35654AD1656D804", "h7GhxuBLTrlhVUyxSPUKUV8rx2EI4ngqJxD7iBdB"),
            // Garage, R2, Backblaze, Scaleway, Storj, DigitalOcean, Alibaba.
            (
                "GK31c2f218a2e44f485b94239e",
                "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835",
            ),
            (
                "0123456789abcdef0123456789abcdef",
                "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835",
            ),
            ("0014a1b2c3d4e5f0000000001", "K001abcDEFghiJKLmnoPQRstuVWXyz0"),
            ("SCWXXXXXXXXXXXXX1234", "11111111-2222-3333-4444-555555555555"),
            (
                "jxag4ljrzm7wyxfmhsatbqeqxxoq2",
                "j3iqvcfbyv5ubpgsdnttjsyd4mdkvz4qwrk2fz3cq6jxkpxzi4dqo",
            ),
            ("DO00ABCDEFGHIJKLMN12", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"),
            ("LTAI5tAbCdEfGhIjKlMnOpQr", "AbCdEfGhIjKlMnOpQrStUvWxYz0123"),
        ] {
            assert!(!are_swapped(id, secret), "{id}");
            assert!(are_swapped(secret, id), "{id}");
        }
    }

    #[test]
    fn account_keys_of_unknown_pattern_are_accepted() {
        for (id, secret) in [
            ("minioadmin", "minioadmin"),
            ("a-user-with-a-very-long-name", "password12"),
            ("homeassistantbackupsoftheattic", "sixteenletters16x!"),
            ("backup", "correct horse"),
            // The secrets of Google and Tencent are shorter than their IDs.
            (
                "GOOG1EXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMPLEEXAMP12",
                "bGoa+V7g/yqDXvKRqq+JTFn4uQZbPiQJo4pf9RzJ",
            ),
            ("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"),
            // Contabo: ID and secret look alike.
            ("0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"),
        ] {
            assert!(!are_swapped(id, secret), "{id}");
        }
    }
}
