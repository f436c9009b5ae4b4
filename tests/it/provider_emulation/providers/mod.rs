//! The providers that are emulated.
//!
//! Where a provider changed over time, this is the version that is hardest for a client.

mod aws_locked;
mod backblaze;
mod ceph;
mod cloudflare;
mod garage;
mod mega;
mod minio;
mod odd;
mod scaleway;
mod storagegrid;

pub(super) use self::aws_locked::AWS_LOCKED;
pub(super) use self::backblaze::BACKBLAZE;
pub(super) use self::ceph::CEPH;
pub(super) use self::cloudflare::CLOUDFLARE;
pub(super) use self::garage::GARAGE;
pub(super) use self::mega::MEGA;
pub(super) use self::minio::MINIO;
pub(super) use self::odd::ODD;
pub(super) use self::scaleway::SCALEWAY;
pub(super) use self::storagegrid::STORAGEGRID;
use super::traits::Traits;

pub(super) const ALL: [Traits; 10] =
    [AWS_LOCKED, BACKBLAZE, CEPH, CLOUDFLARE, GARAGE, MEGA, MINIO, ODD, SCALEWAY, STORAGEGRID];

/// The provider of this name.
pub(crate) fn named(name: &str) -> Traits {
    let names = ALL.map(|traits| traits.name).join(", ");
    let mut all = ALL.into_iter();
    all.find(|traits| traits.name == name).unwrap_or_else(|| panic!("{name} is not one of {names}"))
}
