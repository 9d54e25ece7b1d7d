//! A server that answers as it was told, and notes what it was asked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use haversack_model::Timestamp;
use serde_json::{Value, json};

use crate::remote::error::{Error, Result};
use crate::remote::http::Answer;
use crate::remote::push::{Courier, Pace};

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A status and a body.
    Told(u16, Value),
    /// The connection is cut.
    Cut,
}

#[derive(Debug, Default)]
pub(super) struct Standin {
    pub(super) replies: RefCell<VecDeque<Reply>>,
    pub(super) asked: RefCell<Vec<String>>,
    pub(super) bodies: RefCell<Vec<Value>>,
}

impl Standin {
    pub(super) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self {
            replies: RefCell::new(replies.into_iter().collect()),
            ..Self::default()
        }
    }
    fn next(&self, method: &str, path: &str) -> Result<Answer> {
        self.asked.borrow_mut().push(format!("{method} {path}"));
        let reply = self.replies.borrow_mut().pop_front();
        match reply.unwrap_or_else(|| Reply::Told(404, json!({"message": "nothing more is told"})))
        {
            Reply::Told(status, body) if status < 300 || status == 409 => {
                Ok(Answer { status, body })
            }
            Reply::Told(status, body) => Err(Error::Refused {
                path: path.to_owned(),
                status,
                code: None,
                message: body["message"].as_str().unwrap_or_default().to_owned(),
            }),
            Reply::Cut => Err(Error::Answer {
                path: path.to_owned(),
                problem: "broke off".to_owned(),
            }),
        }
    }
}

impl Courier for Standin {
    fn ask(&self, path: &str, _: &[(&str, &str)]) -> Result<Value> {
        Ok(self.next("GET", path)?.body)
    }
    fn post(&self, path: &str, params: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        self.bodies
            .borrow_mut()
            .push(body.cloned().unwrap_or_default());
        let strategy = params.iter().find(|(name, _)| name.ends_with("trategy"));
        let strategy = strategy.map_or("", |(_, value)| value);
        self.next("POST", format!("{path} {strategy}").trim_end())
    }
    fn put(&self, path: &str, _: &[(&str, &str)]) -> Result<Answer> {
        self.next("PUT", path)
    }
    fn delete(&self, path: &str, _: &[(&str, &str)]) -> Result<Answer> {
        self.next("DELETE", path)
    }
}

/// No time passes; what was waited is counted.
#[derive(Debug, Default)]
pub(super) struct Still {
    pub(super) waited: Vec<Duration>,
}

impl Pace for Still {
    fn wait(&mut self, how_long: Duration) {
        self.waited.push(how_long);
    }
    fn now(&self) -> Timestamp {
        Timestamp(1_795_262_400_000)
    }
}
