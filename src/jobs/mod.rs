//! Work on several targets at once.

mod fan_out;

pub use self::fan_out::fan_out;
