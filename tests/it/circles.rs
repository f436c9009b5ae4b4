//! No circle of files: a file and another that it imports never import each other, also not by way of
//! others. A module and its children may: the children are its parts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::layering::{code_of, sources};

type Module = Vec<String>;

#[test]
fn sources_have_no_circles() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<Module, String> = sources(&root)
        .into_iter()
        .filter(|(file, _)| file != "main.rs")
        .map(|(file, text)| (module_of(&file), code_of(&text)))
        .collect();
    assert!(files.len() > 100, "only {} files", files.len());
    assert_eq!(circles(&files), Vec::<String>::new());
}

#[test]
fn circle_is_found_also_through_exported_names() {
    let files = |texts: &[(&str, &str)]| -> BTreeMap<Module, String> {
        texts.iter().map(|(file, text)| (module_of(file), (*text).to_owned())).collect()
    };
    let one = ("a/one.rs", "use super::two::Two;");
    for two in ["use super::one::One;", "use crate::a::{one::One};", "use super::One;"] {
        let exports = ("a/mod.rs", "pub use self::one::One;\nmod two;");
        let found = circles(&files(&[exports, one, ("a/two.rs", two)]));
        assert_eq!(found, ["a/one -> a/two -> a/one"], "{two}");
    }
    let parts = [("a/mod.rs", "mod one;\nuse self::one::One;"), ("a/one.rs", "use super::Of;")];
    assert_eq!(circles(&files(&parts)), Vec::<String>::new());
}

fn module_of(file: &str) -> Module {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The shortest circle through each file that is in one, each circle once.
fn circles(files: &BTreeMap<Module, String>) -> Vec<String> {
    let exports = files.iter().map(|(module, code)| (module.clone(), exported(module, code)));
    let exports: BTreeMap<Module, BTreeMap<String, Module>> = exports.collect();
    let imports: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, code)| {
            let used = used_paths(module, code).into_iter();
            let used = used.filter_map(|path| target(&path, files, &exports));
            let others =
                used.filter(|other| !other.starts_with(module) && !module.starts_with(other));
            (module, others.collect())
        })
        .collect();
    let mut found = BTreeSet::new();
    for start in imports.keys() {
        if let Some(circle) = shortest_circle(start, &imports) {
            let names: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
            let first = (0..names.len()).min_by_key(|at| &names[*at]).unwrap();
            let turned = names[first..].iter().chain(&names[..=first]).cloned();
            found.insert(turned.collect::<Vec<_>>().join(" -> "));
        }
    }
    found.into_iter().collect()
}

fn shortest_circle<'a>(
    start: &'a Module,
    imports: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
) -> Option<Vec<&'a Module>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in &imports[way.last().unwrap()] {
                if *next == start {
                    return Some(way);
                }
                if seen.insert(*next) {
                    longer.push([way.as_slice(), &[*next]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// The names that a module exports from its children, with the child.
fn exported(module: &Module, code: &str) -> BTreeMap<String, Module> {
    let own: Vec<_> = code.split("use self::").skip(1).flat_map(expand).collect();
    own.into_iter()
        .filter(|path| path.len() == 2)
        .map(|path| (path[1].clone(), [module.as_slice(), &path[..1]].concat()))
        .collect()
}

/// All paths that the code names, from the root.
fn used_paths(module: &Module, code: &str) -> Vec<Module> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        found.extend(expand(&code[at + "crate::".len()..]));
    }
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let rest = &code[at..];
        let up = (1..).find(|count| !rest.starts_with(&"super::".repeat(count + 1))).unwrap();
        let Some(above) = module.len().checked_sub(up) else { continue };
        for path in expand(&rest["super::".len() * up..]) {
            found.push([&module[..above], &path].concat());
        }
    }
    found
}

/// `a::{b, c::D}` as the paths `a::b` and `a::c::D`.
fn expand(text: &str) -> Vec<Module> {
    fn tree(text: &str, before: &[String], found: &mut Vec<Module>) -> usize {
        let mut path = before.to_vec();
        let mut at = 0;
        loop {
            let rest = &text[at..];
            let blank = rest.len() - rest.trim_start().len();
            let rest = rest.trim_start();
            if let Some(group) = rest.strip_prefix('{') {
                let mut inner = 0;
                loop {
                    inner += tree(&group[inner..], &path, found);
                    let next = group[inner..].trim_start();
                    inner = group.len() - next.len();
                    if !next.starts_with(',') {
                        return at + blank + 1 + inner + usize::from(next.starts_with('}'));
                    }
                    inner += 1;
                }
            }
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let end = rest.find(|letter| !is_name(letter)).unwrap_or(rest.len());
            if end == 0 {
                return at + blank;
            }
            path.push(rest[..end].to_owned());
            at += blank + end;
            if !text[at..].starts_with("::") {
                found.push(path);
                return at;
            }
            at += 2;
        }
    }
    let mut found = Vec::new();
    tree(text, &[], &mut found);
    found
}

/// The file that a path leads to.
fn target<'a>(
    path: &[String],
    files: &'a BTreeMap<Module, String>,
    exports: &BTreeMap<Module, BTreeMap<String, Module>>,
) -> Option<&'a Module> {
    let longest = (1..=path.len()).rev().find(|length| files.contains_key(&path[..*length]))?;
    let module = &path[..longest];
    let child = path.get(longest).and_then(|name| exports.get(module)?.get(name));
    let module = child.map_or(module, |child| child.as_slice());
    files.get_key_value(module).map(|(known, _)| known)
}
