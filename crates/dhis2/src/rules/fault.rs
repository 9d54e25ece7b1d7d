//! Why an expression of a rule is not read, or has no value. Such a rule is passed over, and a warning says so: it never refuses data.

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It cannot be read from some place on, counted in characters.
    #[error("it cannot be read from character {0} on")]
    Syntax(usize),
    /// It is longer, or more deeply nested, than any rule.
    #[error("it is too long or too deeply nested")]
    TooLarge,
    /// A function that no server of the dialect has.
    #[error("there is no function {0}")]
    NoFunction(String),
    /// A function that this server does not have.
    #[error("this server does not have the function {0}")]
    NotKept(String),
    /// A function with too few or too many arguments, or another kind of them.
    #[error("the function {0} takes other arguments")]
    Arguments(String),
    /// A variable that nothing has set.
    #[error("there is no variable {0}")]
    NoVariable(String),
    /// A text where a number is needed.
    #[error("a value is no number")]
    NoNumber,
    /// A text where a date is needed.
    #[error("a value is no date")]
    NoDate,
    /// A result that is no finite number, as of a division by zero.
    #[error("the result is no finite number")]
    NotFinite,
    /// A pattern that cannot be read.
    #[error("a pattern cannot be read")]
    Pattern,
}
