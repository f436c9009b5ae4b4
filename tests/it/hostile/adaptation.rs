//! Refusals after which an agent adapts: another region, another addressing style, another header,
//! another time.

use super::script::Script;
use super::server::{Act, MatchedRequest};
use super::{Behavior, DEFAULT, all, assert_harmless};
use crate::provider_emulation::Call;

/// A refusal that names a region.
fn wants_region(region: &str) -> Act {
    let members = format!(
        "<Message>The region is wrong; expecting '{region}'</Message><Region>{region}</Region>"
    );
    Act::Send(Script::refusal(400, "AuthorizationHeaderMalformed", "", &members))
}

/// A redirect that names a region.
fn moved_to(region: &str) -> Act {
    let members =
        format!("<Endpoint>b.s3.{region}.amazonaws.com</Endpoint><Region>{region}</Region>");
    let headers = format!("x-amz-bucket-region: {region}\r\n");
    Act::Send(Script::refusal(301, "PermanentRedirect", &headers, &members))
}

fn is_signed_for(asked: &MatchedRequest<'_>, region: &str) -> bool {
    asked.header("authorization").contains(&format!("/{region}/s3/"))
}

fn redirect(asked: &MatchedRequest<'_>, status: u16) -> Act {
    let host = asked.header("host");
    let location = format!("location: http://{host}{}\r\n", asked.head.uri);
    Act::Send(Script::refusal(status, "TemporaryRedirect", &location, ""))
}

/// A refusal because of the time, at a date of the server.
fn skewed(date: &str) -> Act {
    Act::Send(Script::refusal(403, "RequestTimeTooSkewed", &format!("date: {date}\r\n"), ""))
}

fn writes(call: Call) -> bool {
    matches!(call, Call::PutObject | Call::UploadPart | Call::CompleteMultipartUpload)
}

const TABLE: &[Behavior] = &[
    Behavior::new("a new region in each refusal", all, |asked| {
        wants_region(&format!("eu-{}", asked.number))
    }),
    Behavior::new("two alternating regions", all, |asked| {
        wants_region(if is_signed_for(asked, "eu-1") { "eu-2" } else { "eu-1" })
    }),
    Behavior::new("a region of a MiB", all, |_| wants_region(&"r".repeat(1 << 20))),
    Behavior::new("an invalid region", all, |_| wants_region("../x y\u{1}&lt;b&gt;")),
    Behavior::new("the region that is in use", all, |asked| {
        let authorization = asked.header("authorization");
        wants_region(authorization.split('/').nth(2).unwrap_or("eu-1"))
    }),
    Behavior::new("a move to a new region each time", all, |asked| {
        moved_to(&format!("eu-west-{}", asked.number))
    }),
    Behavior::new("a redirect to itself", all, |asked| redirect(asked, 307)),
    Behavior::new("a permanent redirect to itself", all, |asked| redirect(asked, 301)),
    Behavior::new("the other addressing style each time", all, |asked| {
        let members = "<Message>The bucket you are attempting to access must be addressed using \
                       the specified endpoint. Please send all future requests to this endpoint.\
                       </Message>";
        let host = asked.header("host");
        let endpoint = format!("{members}<Endpoint>{host}</Endpoint>");
        Act::Send(Script::refusal(301, "PermanentRedirect", "", &endpoint))
    }),
    Behavior::new("path-style forbidden", all, |_| {
        let members = "<Message>Please use virtual hosted style to access.</Message>";
        Act::Send(Script::refusal(403, "SecondLevelDomainForbidden", "", members))
    }),
    Behavior::new("a header that is never enough", writes, |_| {
        let members = "<Message>Missing required header for this request: Content-Md5.</Message>";
        Act::Send(Script::refusal(400, "MissingContentMD5", "", members))
    }),
    Behavior::new("nothing implemented", all, |_| {
        let members = "<Message>A header you provided implies functionality that is not \
                       implemented.</Message>";
        Act::Send(Script::refusal(501, "NotImplemented", "", members))
    }),
    Behavior::new("the year 9999", all, |_| skewed("Fri, 31 Dec 9999 23:59:59 GMT")),
    Behavior::new("the year 1", all, |_| skewed("Mon, 01 Jan 0001 00:00:00 GMT")),
    Behavior::new("another time in each refusal", all, |asked| {
        skewed(&format!("Fri, 20 Nov 20{} 03:00:00 GMT", 20 + asked.number % 70))
    }),
    Behavior::new("an invalid time", all, |_| skewed("yesterday")),
    Behavior::new("an old time in the error document", all, |_| {
        let members = "<ServerTime>0000-00-00T99:00:00Z</ServerTime>\
                       <MaxAllowedSkewMilliseconds>-1</MaxAllowedSkewMilliseconds>";
        Act::Send(Script::refusal(403, "RequestTimeTooSkewed", "", members))
    }),
];

#[tokio::test]
async fn each_adaptation_happens_at_most_once() {
    assert_harmless(TABLE, DEFAULT).await;
}
