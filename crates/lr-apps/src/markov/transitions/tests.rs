//! Readers on good and bad files, and what becomes of states that are never left.

use super::*;
use rand::SeedableRng;

const FILE: &str = "trips.csv";

fn list(text: &str) -> Result<Transitions, String> {
    parse_list(Path::new(FILE), text).map_err(|error| error.to_string())
}

fn csv(text: &str) -> Result<Transitions, String> {
    parse_csv(Path::new(FILE), text).map_err(|error| error.to_string())
}

#[test]
fn lists_and_trips_are_counted() {
    let chain = list("# a chain\na b\nb, a, 3\na\tb\nb a\n").unwrap();
    assert_eq!((chain.total(), chain.states.len()), (6, 2));
    let p = chain.matrix().unwrap();
    assert_eq!(p.data, [0.0, 1.0, 1.0, 0.0]);
    let trips = csv("VendorID,PULocationID,DOLocationID\n1,10,20\n2,20,10\n1,,10\n2,10,10\n").unwrap();
    assert_eq!((trips.states.clone(), trips.total()), (vec!["10".to_owned(), "20".to_owned()], 3));
    assert_eq!(trips.matrix().unwrap().data, [0.5, 0.5, 1.0, 0.0]);
}

#[test]
fn malformed_lines_are_named() {
    for (found, expected) in [
        (list("a b\na b c d"), "trips.csv, line 2: \"a b c d\" is not `from to`"),
        (list("a b x"), "line 1: the count \"x\" is no whole number"),
        (list("a,,2"), "line 1"),
        (list("# nothing"), "no transitions"),
        (csv("A,PULocationID\n1,2"), "line 1: no column dolocationid; the header has a, pulocationid"),
        (csv("PULocationID,DOLocationID\n1,2\n1\n"), "line 3: 1 values under 2 columns"),
        (csv("PULocationID,DOLocationID\n1,two\n"), "line 2: \"two\" is no zone number"),
        (csv("PULocationID,DOLocationID\n"), "no trips"),
    ] {
        let message = found.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn parquet_trips_are_read_and_damage_is_named() {
    use parquet::{
        data_type::Int64Type, file::writer::SerializedFileWriter, schema::parser::parse_message_type,
    };
    use std::sync::Arc;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trips.parquet");
    let schema = "message trips { OPTIONAL INT64 PULocationID; REQUIRED INT64 DOLocationID; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[1, 2, 1], Some(&[1, 0, 1, 1]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[2, 9, 1, 1], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let trips = read_trips(&path).unwrap();
    // The second trip has no pickup zone.
    assert_eq!(trips.total(), 3);
    assert_eq!(trips.matrix().unwrap().data, [0.5, 0.5, 1.0, 0.0]);

    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(read_trips(&path).unwrap_err().to_string().contains("trips.parquet"));
    let missing = read_trips(&folder.path().join("none.parquet")).unwrap_err().to_string();
    assert!(missing.contains("cannot read") && missing.contains("none.parquet"), "{missing}");
}

#[test]
fn states_that_are_never_left_are_named_or_left_out() {
    let chain = list("a b\nb a\na c\n").unwrap();
    let message = chain.matrix().unwrap_err().to_string();
    assert!(message.contains("state \"c\" is never left: row 2"), "{message}");
    let kept = chain.recurrent(1).unwrap();
    assert_eq!(kept.states, ["a", "b"]);
    assert!(kept.matrix().is_ok());
    assert!(chain.recurrent(5).unwrap_err().to_string().contains("0 of 3 states"));
}

#[test]
fn halves_add_up_and_leave_every_state() {
    let mut rng = StdRng::seed_from_u64(3);
    let chain = Transitions::generated(20, 3, 5000, &mut rng).unwrap().recurrent(1).unwrap();
    let halves = chain.split(&mut rng);
    assert!(halves.iter().all(|half| half.matrix().is_ok()));
    let total: u64 = halves.iter().map(Transitions::total).sum();
    assert!(total >= chain.total() && total <= chain.total() + 40);
    assert!(Transitions::generated(3, 4, 10, &mut rng).is_err());
}
