//! `underpin status`.

use crate::cli::Done;
use crate::connect::Connect;
use crate::report::{Failed, put};
use client::Command;

/// Show how the cluster is, as one of its nodes sees it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    connect: Connect,
}

/// Carries it out.
pub fn run(args: &Args) -> Done {
    let mut client = args.connect.client(0)?;
    let answer = client.call(&Command::read(["UNDERPIN.STATUS"])).map_err(Failed::call)?;
    put(&format!("{answer:?}"))
}
