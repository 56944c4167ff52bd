//! Side-by-side measurements of Underpin and its peers, at equal durability where they have it.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`options`], [`plan`], [`case`] | what is measured |
//! | [`subject`], [`servers`], [`echo`], [`floors`] | what it is measured on |
//! | [`op`], [`pace`], [`load`], [`wire`] | the load generator |
//! | [`run`], [`turn`], [`histogram`], [`machine`] | turns, and what they showed |
//! | [`report`], [`verdict`], [`chart`] | what comes of it |
//! | [`recovery`] | how long nothing is acknowledged when a leader dies |
//!
//! CPU of servers and generator is counted apart, since on a small machine they take it from each
//! other.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod case;
mod chart;
mod echo;
mod floors;
mod histogram;
mod load;
mod machine;
mod op;
mod options;
mod pace;
mod plan;
mod progress;
mod recovery;
mod report;
mod run;
mod servers;
mod spread;
mod subject;
mod timer;
mod turn;
mod verdict;
mod wire;

use options::{Options, Recovery};
use run::Results;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};
use underpin_e2e::million::{self, Plan};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}", options::HELP);
        return ExitCode::SUCCESS;
    }
    let done = match words.split_first() {
        Some((verb, rest)) => match verb.as_str() {
            "kv" => Options::parse(rest).map(|options| kv(&options)),
            "recovery" => Recovery::parse(rest).map(|options| recovery::run(&options)),
            "plot" => folder(rest).map(plot),
            "echo" => echo_words(rest).map(|(address, value)| echo::serve(address, value)),
            "million" => return million(rest),
            _ => Err(format!("{verb}: there is no such benchmark")),
        },
        None => Err("which benchmark?".into()),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(mistake) => usage(&mistake),
    }
}

/// Measures, writes the results, and for "Must show" says what holds.
fn kv(options: &Options) -> io::Result<()> {
    let folder = run::folder(&options.out, &options.name)?;
    let results = run::measure(options, &folder)?;
    if options.must_show {
        let recovery = Recovery {
            peers: Recovery::PEERS.to_vec(),
            times: options.times,
            name: options.name.clone(),
            out: options.out.clone(),
        };
        recovery::measure(&recovery, &folder)?;
    }
    let page = report::write(&folder, &results)?;
    // What the README shows: only of runs whose results are kept, and that have such a picture.
    let first = folder.join(report::FIRST);
    if options.out == "bench/results" && first.exists() {
        fs::copy(first, Path::new(&options.out).join("newest.svg"))?;
    }
    println!("{page}\nwritten to {}", folder.display());
    Ok(())
}

/// Writes the page and draws the plots of a folder's raw data again.
fn plot(folder: &Path) -> io::Result<()> {
    let page = report::write(folder, &Results::read(folder)?)?;
    println!("{page}\nwritten to {}", folder.display());
    Ok(())
}

fn folder(words: &[String]) -> Result<&Path, String> {
    match words {
        [folder] => Ok(Path::new(folder)),
        _ => Err("plot needs a folder of results".into()),
    }
}

fn echo_words(words: &[String]) -> Result<(std::net::SocketAddr, usize), String> {
    let parsed = match words {
        [address, value] => address.parse().ok().zip(value.parse().ok()),
        _ => None,
    };
    parsed.ok_or_else(|| "echo needs an address and a size".into())
}

/// Many keys: figures, and turns within their bounds.
fn million(words: &[String]) -> ExitCode {
    let mut plan = Plan { control: Some(Duration::from_secs(20)), ..Plan::default() };
    match words {
        [] => {}
        [flag, keys] if flag == "--keys" => match keys.parse() {
            Ok(keys) if keys > 0 => plan.keys = keys,
            _ => return usage(&format!("--keys {keys}: a number from 1 up is needed")),
        },
        _ => return usage(&format!("million {}: there is no such option", words.join(" "))),
    }
    let report = million::run(&plan);
    println!("{report}");
    let broken = report.broken();
    broken.iter().for_each(|line| println!("{line}"));
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage(mistake: &str) -> ExitCode {
    eprint!("{mistake}\n\n{}", options::HELP);
    ExitCode::from(2)
}
