//! Exit codes: what a script may rely on. The help of `haversack` and docs/commands.md list them.

use std::process::ExitCode;

use haversack_model::Error as ModelError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is done.
    Done,
    /// Done, but something waits for the user: an open conflict, a refused edit, a replica that differs.
    Attention,
    /// Done, but the replica file was altered in a way that must be repaired first.
    Broken,
}

/// The replica file was altered in a way that must be repaired first.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NeedsRepair(pub(crate) String);

/// The server wants other credentials.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NeedsLogin(pub(crate) String);

/// The server was not reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// The code of an end.
pub(crate) fn code(ended: &anyhow::Result<Outcome>) -> ExitCode {
    ExitCode::from(match ended {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::Attention) => 3,
        Ok(Outcome::Broken) => 6,
        Err(error) => code_of_error(error),
    })
}

/// The word for a failure in `--json` output.
pub(crate) fn kind(error: &anyhow::Error) -> &'static str {
    match code_of_error(error) {
        4 => "login",
        5 => "network",
        6 => "repair",
        _ => "failed",
    }
}

fn code_of_error(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<NeedsRepair>() {
            return 6;
        }
        if cause.is::<NeedsLogin>() {
            return 4;
        }
        if cause.is::<Unreachable>() {
            return 5;
        }
        match cause.downcast_ref::<ModelError>() {
            Some(ModelError::Network(_)) => return 5,
            Some(ModelError::Refused {
                code: 401 | 403 | 498 | 499,
                ..
            }) => return 4,
            _ => {}
        }
        if cause
            .downcast_ref::<reqwest::Error>()
            .is_some_and(|e| e.is_connect() || e.is_timeout())
        {
            return 5;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_code_under_any_context() {
        let refused = ModelError::Refused {
            code: 499,
            message: "Token Required".to_owned(),
        };
        let error = anyhow::Error::new(refused)
            .context("while asking")
            .context("checkout");
        assert_eq!(code_of_error(&error), 4);
        assert_eq!(code_of_error(&anyhow::anyhow!("no such file")), 1);
        let error = anyhow::Error::new(NeedsRepair("triggers are gone".to_owned())).context("sync");
        assert_eq!(code_of_error(&error), 6);
    }
}
