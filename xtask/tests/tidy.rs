//! The repository keeps its own rules. Each rule's module shows that it catches a violation.

use xtask::tidy::{
    Problem, Repository, architecture, arrows, dependencies, leftovers, links, machine,
};
use xtask::tidy::{purity, status};

fn none(problems: Vec<Problem>) {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn crates_know_only_what_they_may() {
    none(arrows::check(&Repository::open().manifests()));
}

#[test]
fn every_borrowed_crate_is_explained() {
    let repository = Repository::open();
    none(dependencies::check(&repository.manifests(), repository.text(dependencies::PAGE)));
}

#[test]
fn the_map_shows_what_is_there() {
    let repository = Repository::open();
    let page = repository.text(architecture::PAGE);
    none(architecture::check(page, &repository.paths, &repository.sources));
}

#[test]
fn every_link_leads_somewhere() {
    let repository = Repository::open();
    none(links::check(&repository.sources, &repository.paths));
}

#[test]
fn the_status_names_tests_that_exist() {
    let repository = Repository::open();
    let page = repository.text(status::PAGE);
    none(status::check(page, &repository.paths, &repository.sources));
}

#[test]
fn nothing_half_done_stays_behind() {
    none(leftovers::check(&Repository::open().sources));
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    none(machine::check(&Repository::open().sources));
}

#[test]
fn pure_crates_share_one_set_of_rules() {
    none(purity::check(&Repository::open().sources));
}
