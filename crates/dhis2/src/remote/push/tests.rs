mod jobs;
mod orders;
mod outcomes;
mod standin;
