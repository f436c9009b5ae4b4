//! Reasons to distrust a certificate.

/// What is wrong with a certificate. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    UnknownIssuer,
    /// An authority with the name of one that is known, but not its key.
    OtherKey,
    SelfSigned,
    Expired(i64),
    NotYetValid(i64),
    /// Another certificate of the chain that the server sent.
    ChainExpired(i64),
    ChainNotYetValid(i64),
    OtherName,
    /// Made for something else than servers.
    Purpose,
    /// The issuer may not sign for this name.
    NameConstraints,
    /// That of an authority where that of a server belongs.
    AuthorityAsServer,
    /// A certificate of the chain may not sign others.
    IssuerNotAuthority,
    /// Of a server or of an authority of the chain, with so many bits.
    ShortKey(usize),
    SignatureAlgorithm,
    Version,
    CriticalExtension,
    Unreadable,
    /// Of a certificate that was given by hand.
    GivenExpired(i64),
    GivenNotYetValid(i64),
    GivenNotAuthority,
    Other,
}

impl Problem {
    /// The detail `reason` of `tls_untrusted`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::UnknownIssuer | Self::OtherKey => "unknown_issuer",
            Self::SelfSigned => "self_signed",
            Self::Expired(_) | Self::ChainExpired(_) | Self::GivenExpired(_) => "expired",
            Self::NotYetValid(_) | Self::ChainNotYetValid(_) | Self::GivenNotYetValid(_) => {
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
            | Self::GivenNotAuthority
            | Self::Other => "invalid",
        }
    }
}
