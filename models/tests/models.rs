//! The small bounds of every model hold and reach what they must; and every deliberate mistake of
//! the harness is found, by the law that it breaks.

use underpin_models::cases::{self, Case};
use underpin_models::cluster::Cluster;
use underpin_models::run::{run, watching};

fn case(name: &str) -> Case {
    cases::all().into_iter().find(|case| case.name == name).expect("a model of that name")
}

fn holds(name: &str) {
    let case = case(name);
    let outcome = run(Cluster::new(case.small, &case.marks, None), 1, case.steps_max_small);
    assert!(outcome.is_good(), "{name}: {outcome}");
}

fn finds_mistakes(name: &str) {
    let case = case(name);
    assert!(!case.mutations.is_empty(), "nothing shows that {name} can find anything");
    for (mutation, law) in case.mutations {
        let cluster = Cluster::new(case.small.clone(), &[], Some(mutation));
        let outcome = run(watching(cluster, law), 1, 8 * case.steps_max_small);
        assert!(!outcome.broken.is_empty(), "{name} does not notice {mutation:?}: {outcome}");
    }
}

macro_rules! models {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn holds_within_its_small_bounds() {
                super::holds(stringify!($name));
            }

            #[test]
            fn finds_the_mistakes_it_is_for() {
                super::finds_mistakes(stringify!($name));
            }
        })*

        #[test]
        fn every_model_is_tested() {
            let tested = [$(stringify!($name)),*];
            assert!(cases::all().iter().all(|case| tested.contains(&case.name)));
        }
    };
}

models! { elections replication membership snapshots reads leases transfer late }
