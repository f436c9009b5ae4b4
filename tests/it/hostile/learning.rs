//! Refusals after which an agent adapts: another region, another addressing style, another header,
//! another time.

use super::say::Say;
use super::server::{Act, Asked};
use super::{DEFAULT, Hostility, all, assert_harmless};
use crate::personality::Call;

/// A refusal that names a region.
fn wants_region(region: &str) -> Act {
    let members = format!(
        "<Message>The region is wrong; expecting '{region}'</Message><Region>{region}</Region>"
    );
    Act::Say(Say::refusal(400, "AuthorizationHeaderMalformed", "", &members))
}

/// A redirect that names a region.
fn moved_to(region: &str) -> Act {
    let members =
        format!("<Endpoint>b.s3.{region}.amazonaws.com</Endpoint><Region>{region}</Region>");
    let headers = format!("x-amz-bucket-region: {region}\r\n");
    Act::Say(Say::refusal(301, "PermanentRedirect", &headers, &members))
}

fn is_signed_for(asked: &Asked<'_>, region: &str) -> bool {
    asked.header("authorization").contains(&format!("/{region}/s3/"))
}

fn redirect(asked: &Asked<'_>, status: u16) -> Act {
    let host = asked.header("host");
    let location = format!("location: http://{host}{}\r\n", asked.head.uri);
    Act::Say(Say::refusal(status, "TemporaryRedirect", &location, ""))
}

/// A refusal because of the time, at a date of the server.
fn skewed(date: &str) -> Act {
    Act::Say(Say::refusal(403, "RequestTimeTooSkewed", &format!("date: {date}\r\n"), ""))
}

fn writes(call: Call) -> bool {
    matches!(call, Call::PutObject | Call::UploadPart | Call::CompleteMultipartUpload)
}

const TABLE: &[Hostility] = &[
    Hostility::new("a new region in each refusal", all, |asked| {
        wants_region(&format!("eu-{}", asked.number))
    }),
    Hostility::new("two regions in turn", all, |asked| {
        wants_region(if is_signed_for(asked, "eu-1") { "eu-2" } else { "eu-1" })
    }),
    Hostility::new("a region of a MiB", all, |_| wants_region(&"r".repeat(1 << 20))),
    Hostility::new("a region that is none", all, |_| wants_region("../x y\u{1}&lt;b&gt;")),
    Hostility::new("the region that is in use", all, |asked| {
        let authorization = asked.header("authorization");
        wants_region(authorization.split('/').nth(2).unwrap_or("eu-1"))
    }),
    Hostility::new("a move to a new region each time", all, |asked| {
        moved_to(&format!("eu-west-{}", asked.number))
    }),
    Hostility::new("a redirect to itself", all, |asked| redirect(asked, 307)),
    Hostility::new("a permanent redirect to itself", all, |asked| redirect(asked, 301)),
    Hostility::new("the other addressing style each time", all, |asked| {
        let members = "<Message>The bucket you are attempting to access must be addressed using \
                       the specified endpoint. Please send all future requests to this endpoint.\
                       </Message>";
        let host = asked.header("host");
        let endpoint = format!("{members}<Endpoint>{host}</Endpoint>");
        Act::Say(Say::refusal(301, "PermanentRedirect", "", &endpoint))
    }),
    Hostility::new("path-style forbidden", all, |_| {
        let members = "<Message>Please use virtual hosted style to access.</Message>";
        Act::Say(Say::refusal(403, "SecondLevelDomainForbidden", "", members))
    }),
    Hostility::new("a header that is never enough", writes, |_| {
        let members = "<Message>Missing required header for this request: Content-Md5.</Message>";
        Act::Say(Say::refusal(400, "MissingContentMD5", "", members))
    }),
    Hostility::new("nothing implemented", all, |_| {
        let members = "<Message>A header you provided implies functionality that is not \
                       implemented.</Message>";
        Act::Say(Say::refusal(501, "NotImplemented", "", members))
    }),
    Hostility::new("the year 9999", all, |_| skewed("Fri, 31 Dec 9999 23:59:59 GMT")),
    Hostility::new("the year 1", all, |_| skewed("Mon, 01 Jan 0001 00:00:00 GMT")),
    Hostility::new("another time in each refusal", all, |asked| {
        skewed(&format!("Fri, 20 Nov 20{} 03:00:00 GMT", 20 + asked.number % 70))
    }),
    Hostility::new("a time that is none", all, |_| skewed("yesterday")),
    Hostility::new("an old time in the document", all, |_| {
        let members = "<ServerTime>0000-00-00T99:00:00Z</ServerTime>\
                       <MaxAllowedSkewMilliseconds>-1</MaxAllowedSkewMilliseconds>";
        Act::Say(Say::refusal(403, "RequestTimeTooSkewed", "", members))
    }),
];

#[tokio::test]
async fn each_thing_is_learned_at_most_once() {
    assert_harmless(TABLE, DEFAULT).await;
}
