//! Work on several targets at once.

mod fan_out;

pub(crate) use self::fan_out::fan_out;
