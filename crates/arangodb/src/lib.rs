#![doc = include_str!("../README.md")]

pub mod aside;
mod definition;
pub mod face;
mod known;
pub mod remote;
pub mod wire;

pub use known::identify;
