use super::*;

fn objects(inside: &str) -> Result<String, ReadFault> {
    let document = format!("<ListBucketResult xmlns=\"x\">{inside}</ListBucketResult>");
    text_of(document.as_bytes(), Kind::Objects)
}

fn text_of(document: &[u8], kind: Kind) -> Result<String, ReadFault> {
    let document = String::from_utf8(canonical(document, kind)?).unwrap();
    let text = decoded(&document).into_owned();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn member_of(read: Result<String, ReadFault>) -> &'static str {
    match read {
        Err(ReadFault::Invalid(fault)) => fault.member,
        other => panic!("{other:?}"),
    }
}

#[test]
fn xml_root_gets_the_name_that_the_sdk_expects() {
    for root in ["ListBucketResult", "ListBucket", "ListBucketV2Result", "s3:ListBucketResult"] {
        let document =
            format!("\u{feff}\r\n<?xml version=\"1.0\"?>\n<{root}><Name>b</Name></{root}>\n");
        let document = document.trim_start_matches('\u{feff}');
        let read = text_of(document.as_bytes(), Kind::Objects).unwrap();
        assert_eq!(read, "<ListBucketResult><Name>b</Name></ListBucketResult>");
    }
    for other in
        ["<Error><Code>x</Code></Error>", "<html></html>", "", "{}", "x<ListBucketResult/>"]
    {
        assert!(
            matches!(text_of(other.as_bytes(), Kind::Objects), Err(ReadFault::OtherDocument)),
            "{other}"
        );
    }
    assert_eq!(
        text_of(b"<ListBucketResult/>", Kind::Objects).unwrap(),
        "<ListBucketResult></ListBucketResult>"
    );
}

#[test]
fn xml_without_end_tag_is_reported_as_cut() {
    let whole = "<?xml?><ListBucketResult xmlns=\"x\"><Name>b</Name></ListBucketResult>";
    for end in 18..whole.len() {
        let read = canonical(&whole.as_bytes()[..end], Kind::Objects);
        assert!(matches!(read, Err(ReadFault::Truncated)), "{end}");
    }
    for whole in [whole.to_owned(), format!("{whole}\n"), format!("{whole}<!-- > -->")] {
        canonical(whole.as_bytes(), Kind::Objects).unwrap();
    }
}

#[test]
fn xml_that_is_malformed_is_refused() {
    for inside in [
        "<Contents><Key>a</ListBucketResult>",
        "<Contents><Key>a</Key></ListBucketResult><Contents>",
        "</Name>",
    ] {
        assert_eq!(member_of(objects(inside)), "body", "{inside}");
    }
    let twice = b"<ListBucketResult></ListBucketResult><ListBucketResult></ListBucketResult>";
    assert_eq!(member_of(text_of(twice, Kind::Objects)), "body");
}

#[test]
fn object_keys_are_read_in_any_escaping() {
    for (given, key) in [
        ("Net &amp; Works", "Net & Works"),
        ("Net & Works", "Net & Works"),
        ("a & b; c", "a & b; c"),
        ("a&unknown;b", "a&unknown;b"),
        ("a&#38;b&#x41;", "a&bA"),
        ("<![CDATA[a<b]]>", "a<b"),
        ("a\u{1}b", "a\u{1}b"),
        (" a+b%20c ", " a+b%20c "),
    ] {
        let read = objects(&format!("<Contents><Key>{given}</Key></Contents>")).unwrap();
        let expected = format!("<Contents><Key>{key}</Key></Contents></ListBucketResult>");
        assert!(read.ends_with(&expected), "{read}");
    }
    let encoded = "<Contents><Key>a%2Fb+c%2Bd</Key></Contents><EncodingType>url</EncodingType>";
    assert!(objects(encoded).unwrap().contains("<Key>a/b c+d</Key>"));
}

#[test]
fn bytes_that_are_not_utf8_are_kept() {
    let document = b"<ListBucketResult><Contents><Key>a\xff</Key></Contents></ListBucketResult>";
    let read = String::from_utf8(canonical(document, Kind::Objects).unwrap()).unwrap();
    assert!(read.contains("<Key>a%FF</Key>"), "{read}");
}

#[test]
fn unusable_xml_members_are_dropped() {
    let entry = |members: &str| {
        let read = objects(&format!("<Contents><Key>a</Key>{members}</Contents>")).unwrap();
        read.split("</Key>").nth(1).unwrap().split("</Contents>").next().unwrap().to_owned()
    };
    assert_eq!(entry("<Size> 7 </Size><Owner><ID>x</ID></Owner>"), "<Size>7</Size>");
    assert_eq!(entry("<Size>7.00</Size>"), "<Size>7</Size>");
    for size in ["", "-1", "1e3", "1.5", "99999999999999999999"] {
        assert_eq!(entry(&format!("<Size>{size}</Size>")), "", "{size}");
    }
    let date = "<LastModified>Fri, 20 Nov 2026 04:32:00 GMT</LastModified>";
    assert_eq!(entry(date), "<LastModified>2026-11-20T04:32:00Z</LastModified>");
    assert_eq!(entry("<LastModified>soon</LastModified>"), "");
    assert_eq!(entry(&format!("<ETag>{}</ETag>", "e".repeat(MAX_MEMBER + 1))), "");
}

#[test]
fn oversized_xml_members_are_dropped_or_refused() {
    let long = "k".repeat(MAX_KEY + 1);
    let read = objects(&format!(
        "<Contents><Key>{long}</Key></Contents><Contents><Key>a</Key></Contents>"
    ));
    assert_eq!(
        read.unwrap(),
        "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>"
    );
    let token = "t".repeat(MAX_MEMBER + 1);
    let read = objects(&format!("<NextContinuationToken>{token}</NextContinuationToken>"));
    assert_eq!(member_of(read), "NextContinuationToken");
    assert_eq!(member_of(objects("<IsTruncated>perhaps</IsTruncated>")), "IsTruncated");
    assert_eq!(member_of(objects(&"<Contents/>".repeat(MAX_ENTRIES + 1))), "Contents");
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    objects(&deep).unwrap();
}
