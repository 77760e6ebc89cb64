use std::path::{Path, PathBuf};

use super::*;

#[test]
fn quick() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = run(&root.join("scenarios"), &Options { policies: root.join("policies"), ..Options::default() });
    println!("{report}");
    assert_eq!(report.exit_code(), 0);
    let _: PathBuf;
}
