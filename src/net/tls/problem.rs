//! Reasons why a certificate is not trusted.

/// Why a certificate is not trusted. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    UnknownIssuer,
    /// The issuer has the name of a trusted CA, but a different key.
    OtherKey,
    SelfSigned,
    Expired(i64),
    NotYetValid(i64),
    /// Expiry of another certificate of the chain that the server sent.
    ChainExpired(i64),
    ChainNotYetValid(i64),
    OtherName,
    /// The extended key usage does not include servers.
    Purpose,
    /// Name constraints of the issuer exclude this host name.
    NameConstraints,
    /// A CA certificate in place of a server certificate.
    AuthorityAsServer,
    /// A certificate of the chain is not allowed to sign others.
    IssuerNotAuthority,
    /// RSA key length in bits, of the server or a CA of the chain.
    ShortKey(usize),
    SignatureAlgorithm,
    Version,
    CriticalExtension,
    Unreadable,
    /// Expiry of a certificate from the settings.
    UserExpired(i64),
    UserNotYetValid(i64),
    UserNotAuthority,
    Other,
}

impl Problem {
    /// The detail `reason` of `tls_untrusted`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::UnknownIssuer | Self::OtherKey => "unknown_issuer",
            Self::SelfSigned => "self_signed",
            Self::Expired(_) | Self::ChainExpired(_) | Self::UserExpired(_) => "expired",
            Self::NotYetValid(_) | Self::ChainNotYetValid(_) | Self::UserNotYetValid(_) => {
                "not_yet_valid"
            }
            Self::OtherName => "name_mismatch",
            Self::Purpose
            | Self::NameConstraints
            | Self::AuthorityAsServer
            | Self::IssuerNotAuthority
            | Self::ShortKey(_)
            | Self::SignatureAlgorithm
            | Self::Version
            | Self::CriticalExtension
            | Self::Unreadable
            | Self::UserNotAuthority
            | Self::Other => "invalid",
        }
    }
}
