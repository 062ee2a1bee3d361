//! The checked-in list fits the sources, and lists that do not are refused.

use super::*;

const SUITES: &str = "[suites]\ngolden = [\"-p\", \"lr-tests\"]\n";

fn entry(name: &str, suite: &str, find: &str, replace: &str) -> String {
    format!(
        "[[mutation]]\nname = \"{name}\"\nfile = \"a.rs\"\nwhat = \"w\"\nsuite = \"{suite}\"\n\
         find = \"{find}\"\nreplace = \"{replace}\"\n"
    )
}

#[test]
fn the_list_fits_the_sources() {
    let list = List::read(&workspace_root()).unwrap();
    assert!(list.select(&Selection::All).unwrap().len() >= 20);
    assert!(list.select(&Selection::Quick).is_ok());
}

#[test]
fn a_list_that_makes_no_sense_is_refused() {
    for (entries, message) in [
        (entry("n", "golden", "a", "b") + &entry("n", "golden", "a", "c"), "two entries have this name"),
        (entry("n", "gilded", "a", "b"), "no suite `gilded`"),
        (entry("n", "golden", "a", "a"), "changes nothing"),
        (entry("n", "golden", "a", "b") + "mode = 1\n", "mode"),
    ] {
        let error = List::parse(&format!("{SUITES}{entries}")).unwrap_err();
        assert!(error.contains(list::FILE) && error.contains(message), "{error}");
    }
}

#[test]
fn an_error_is_planted_once_or_not_at_all() {
    let list = List::parse(&format!("{SUITES}{}", entry("n", "golden", "x + y", "x - y"))).unwrap();
    let mutation = list.select(&Selection::Named(vec!["n".to_owned()])).unwrap()[0];
    assert_eq!(mutation.apply("z = x + y;").unwrap(), "z = x - y;");
    for stale in ["z = x * y;", "x + y; x + y"] {
        assert!(mutation.apply(stale).unwrap_err().contains("not once"));
    }
    assert!(list.select(&Selection::Named(vec!["m".to_owned()])).unwrap_err().contains("there are n"));
    assert!(list.select(&Selection::Quick).unwrap_err().contains("no entry is selected"));
}

#[test]
fn a_copy_follows_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let (root, copy) = (folder.path().join("root"), folder.path().join("copy"));
    let in_root = |path: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (path, text) in [("crates/a/a.rs", "a"), ("tests/b.rs", "b"), ("target/c.rs", "c")] {
        std::fs::write(in_root(path), text).unwrap();
    }
    let tree = Tree::copy(&root, &copy).unwrap();
    assert_eq!(tree.read("crates/a/a.rs".as_ref()).unwrap(), "a");
    assert!(tree.read("target/c.rs".as_ref()).is_err(), "build folders stay behind");
    tree.write("crates/a/a.rs".as_ref(), "planted").unwrap();
    std::fs::remove_file(root.join("tests/b.rs")).unwrap();
    let tree = Tree::copy(&root, &copy).unwrap();
    assert_eq!(tree.read("crates/a/a.rs".as_ref()).unwrap(), "a");
    assert!(tree.read("tests/b.rs".as_ref()).is_err());
}
