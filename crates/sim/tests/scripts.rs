//! Runs that found something once, kept in `scripts/` as short as they became. What found a bug of
//! ours must hold now; what fails under a mutant must go on to fail under it, and hold without. Where
//! other things in the world have changed since, it may take another draw of what no script holds.

use std::fs;
use std::path::Path;
use underpin_sim::script::Script;

#[expect(clippy::disallowed_methods, reason = "kept scripts are files")]
fn kept() -> Vec<(String, Script)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut kept: Vec<(String, Script)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let script = fs::read_to_string(&path).unwrap().parse();
            (name.clone(), script.unwrap_or_else(|wrong| panic!("{name}: {wrong}")))
        })
        .collect();
    kept.sort_by(|(one, _), (other, _)| one.cmp(other));
    kept
}

#[test]
fn kept_scripts_end_as_they_should() {
    for (name, script) in kept() {
        assert!(!script.comment.is_empty(), "{name} says what it found");
        let sound = Script { mutant: None, ..script.clone() };
        assert_eq!(sound.run(true, None).0, None, "{name}");
        if script.mutant.is_some() {
            let lucks = [script.luck].into_iter().chain(1..=20);
            let mut runs = lucks.map(|luck| Script { luck, ..script.clone() }.run(true, None));
            assert!(
                runs.any(|(found, _)| found.is_some()),
                "{name} finds its bug no more:\n{script}"
            );
        }
    }
}
