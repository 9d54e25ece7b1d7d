#![doc = include_str!("../README.md")]

mod definition;
pub mod face;
mod known;
pub mod remote;
pub mod wire;
