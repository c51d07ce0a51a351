//! Fits a softmax mixture to choices in CSV or NPY files and says what it found: a table, JSON, a plot.
//!
//! `cargo run --release --example fit` fits the flights shipped with the crate; `-- --help` tells the rest.

mod args;
mod fault;
mod input;
mod json;
mod npy;
mod output;
mod plot;
mod report;
mod solve;
mod table;

use args::Job;
use fault::Result;
use input::Input;
use output::Pending;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Job::from_command_line().and_then(|job| job.map_or(Ok(()), |job| run(&job))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("error: {fault}");
            fault.code()
        }
    }
}

fn run(job: &Job) -> Result<()> {
    let to_stdout = job.json.as_deref() == Some(Path::new("-"));
    let paths = job.json.iter().filter(|_| !to_stdout).chain(&job.plot);
    paths.clone().try_for_each(|path| output::check(path))?;
    let standard = Some(Path::new("/dev/stdout")).filter(|_| to_stdout || !job.quiet);
    output::apart(paths.clone(), job.source.files().into_iter().chain(standard))?;
    let input = Input::read(&job.source, job.precision)?;
    let solutions = solve::solve(job, &input)?;
    let scan = job.classes.is_some_and(|c| c.scan);
    let json = job.json.as_ref().map(|_| json::text(&input, &solutions, scan)).transpose()?;
    let plot = job.plot.as_ref().map(|_| plot::svg(&input, &solutions, scan)).transpose()?;
    let told = match &json {
        Some(text) if to_stdout => text.clone(),
        _ if job.quiet => String::new(),
        _ => report::text(job, &input, &solutions, scan),
    };
    // Everything is written aside, and what cannot be is written, before anything takes its place.
    let texts = json.iter().filter(|_| !to_stdout).chain(&plot);
    let outputs: Vec<Pending> = paths.zip(texts).map(|(path, text)| Pending::write(path, text)).collect::<Result<_>>()?;
    outputs.iter().try_for_each(Pending::send)?;
    output::print(&told)?;
    outputs.into_iter().try_for_each(Pending::keep)
}
