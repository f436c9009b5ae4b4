//! Recorded refusals of many servers, and what each must mean to the user.
//!
//! Each row is an answer of a server: status, headers, body. The endpoint and the region of the
//! request are those of `ROW` unless the row says otherwise. Where a provider is known to leave
//! something out or to get it wrong, so does the row.

use proptest::prelude::*;
use s3_backup_agent::error::{Code, Error};
use s3_backup_agent::s3::{Answer, Context, Operation, classify};

use self::Code::*;
use self::Operation::*;

pub(crate) type Pairs = &'static [(&'static str, &'static str)];

/// An answer and its meaning.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) operation: Operation,
    pub(crate) endpoint: &'static str,
    pub(crate) region: &'static str,
    /// Status, headers and body.
    pub(crate) answer: (u16, Pairs, &'static str),
    /// Code, field and details; a field of "" means none.
    pub(crate) means: (Code, &'static str, Pairs),
}

const ROW: Row = Row {
    name: "",
    operation: ListObjectsV2,
    endpoint: "https://s3.example.org",
    region: "us-east-1",
    answer: (0, &[], ""),
    means: (Internal, "", &[]),
};

pub(crate) const BUCKET: &str = "backups";

/// Stands for the parts of a signature that some servers repeat in their refusals.
const ECHO: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    // Account keys and signatures.
    Row { name: "AWS: unknown key",
        answer: (403, &[], "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id you provided does not exist in our records.</Message><AWSAccessKeyId>AKIAX</AWSAccessKeyId><RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "AWS: wrong secret",
        answer: (403, &[], "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your key and signing method.</Message><StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>"),
        means: (InvalidCredentials, "secret_access_key", &[("which", "signature")]), ..ROW },
    Row { name: "AWS: session token of another key",
        answer: (400, &[], "<Error><Code>InvalidToken</Code><Message>The provided token is malformed or otherwise invalid.</Message></Error>"),
        means: (InvalidCredentials, "session_token", &[("which", "token")]), ..ROW },
    Row { name: "AWS: session over",
        answer: (400, &[], "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"),
        means: (CredentialsExpired, "session_token", &[]), ..ROW },
    Row { name: "MinIO: unknown key, with all its members",
        answer: (403, &[("server", "MinIO")], "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>InvalidAccessKeyId</Code><Message>The Access Key Id you provided does not exist in our records.</Message><BucketName>backups</BucketName><Resource>/backups/</Resource><RequestId>1</RequestId><HostId>h</HostId></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "Garage: unknown key",
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Forbidden: No such key: GK31c2f218a2e44f485b94239e</Message><Resource>/backups</Resource><Region>garage</Region></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "Garage: wrong secret",
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Forbidden: Invalid signature</Message><Resource>/backups</Resource><Region>garage</Region></Error>"),
        means: (InvalidCredentials, "secret_access_key", &[("which", "signature")]), ..ROW },
    Row { name: "Ceph RGW: wrong secret, no message",
        answer: (403, &[], "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SignatureDoesNotMatch</Code><RequestId>tx0-default</RequestId><HostId>default</HostId></Error>"),
        means: (InvalidCredentials, "secret_access_key", &[("which", "signature")]), ..ROW },
    Row { name: "Ceph RGW: account suspended",
        answer: (403, &[], "<Error><Code>UserSuspended</Code><RequestId>tx0-default</RequestId></Error>"),
        means: (AccessDenied, "access_key_id", &[]), ..ROW },
    Row { name: "Cloudflare R2: key of another service",
        answer: (400, &[], "<Error><Code>InvalidArgument</Code><Message>Credential access key has length 20, should be 32</Message></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "Cloudflare R2: unknown key",
        answer: (401, &[("server", "cloudflare")], "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>Unauthorized</Code><Message>Unauthorized</Message></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "Backblaze B2: master key",
        answer: (403, &[], "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<Error>\n    <Code>InvalidAccessKeyId</Code>\n    <Message>Malformed Access Key Id</Message>\n</Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "Google: unknown key",
        answer: (403, &[], "<?xml version='1.0' encoding='UTF-8'?><Error><Code>InvalidSecurity</Code><Message>The provided security credentials are not valid.</Message><Details>Incorrect Authorization header</Details></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },
    Row { name: "s3s: unknown key",
        answer: (403, &[], "<Error><Code>NotSignedUp</Code><Message>Your account is not signed up</Message></Error>"),
        means: (InvalidCredentials, "access_key_id", &[("which", "access_key")]), ..ROW },

    // Region and location of the bucket.
    Row { name: "AWS: no such bucket",
        answer: (404, &[], "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message><BucketName>backups</BucketName></Error>"),
        means: (BucketNotFound, "bucket", &[("bucket", "backups")]), ..ROW },
    Row { name: "Cloudflare R2: no such bucket",
        answer: (404, &[], "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message></Error>"),
        means: (BucketNotFound, "bucket", &[("bucket", "backups")]), ..ROW },
    Row { name: "AWS: bucket name refused",
        answer: (400, &[], "<Error><Code>InvalidBucketName</Code><Message>The specified bucket is not valid.</Message></Error>"),
        means: (InvalidBucketName, "bucket", &[("bucket", "backups")]), ..ROW },
    Row { name: "AWS: wrong region in the signature",
        answer: (400, &[], "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>"),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "eu-west-1")]), ..ROW },
    Row { name: "MinIO: region only in the message",
        answer: (400, &[], "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region is wrong; expecting 'nas-1'.</Message></Error>"),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "nas-1")]), ..ROW },
    Row { name: "Garage: wrong region",
        answer: (400, &[], "<Error><Code>AuthorizationHeaderMalformed</Code><Message>Authorization header malformed, unexpected scope: 20261120/us-east-1/s3/aws4_request</Message><Region>garage</Region></Error>"),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "garage")]), ..ROW },
    Row { name: "AWS: endpoint of another region", endpoint: "https://s3.us-east-1.amazonaws.com",
        answer: (301, &[("x-amz-bucket-region", "eu-central-1")], "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message><Endpoint>backups.s3.eu-central-1.amazonaws.com</Endpoint><Bucket>backups</Bucket></Error>"),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "eu-central-1")]), ..ROW },
    Row { name: "AWS: endpoint of another region, to a HEAD", operation: HeadObject,
        answer: (301, &[("x-amz-bucket-region", "eu-central-1")], ""),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "eu-central-1")]), ..ROW },
    Row { name: "AWS: wrong region in the signature, to a HEAD", operation: HeadObject,
        answer: (400, &[("x-amz-bucket-region", "eu-central-1")], ""),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "eu-central-1")]), ..ROW },
    Row { name: "AWS: opt-in region",
        answer: (400, &[], "<Error><Code>IllegalLocationConstraintException</Code><Message>The ap-east-1 location constraint is incompatible for the region specific endpoint this request was sent to.</Message></Error>"),
        means: (WrongRegion, "region", &[("configured", "us-east-1"), ("expected", "ap-east-1")]), ..ROW },
    Row { name: "AWS: from an opt-in region to the oldest one", region: "af-south-1",
        answer: (400, &[], "<Error><Code>IllegalLocationConstraintException</Code><Message>The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.</Message></Error>"),
        means: (WrongRegion, "region", &[("configured", "af-south-1"), ("expected", "us-east-1")]), ..ROW },
    Row { name: "AWS: bucket too new for its name service",
        answer: (307, &[("location", "https://backups.s3-us-west-2.amazonaws.com/")], "<Error><Code>TemporaryRedirect</Code><Message>Please re-send this request to the specified temporary endpoint.</Message><Endpoint>backups.s3-us-west-2.amazonaws.com</Endpoint></Error>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "redirect"), ("expected", "s3-us-west-2.amazonaws.com")]), ..ROW },
    Row { name: "Wasabi: endpoint of another region",
        answer: (301, &[], "<Error><Code>PermanentRedirect</Code><Message>The bucket you are attempting to access must be addressed using the specified endpoint.</Message><Endpoint>s3.eu-central-1.wasabisys.com</Endpoint></Error>"),
        means: (InvalidEndpoint, "endpoint", &[("expected", "s3.eu-central-1.wasabisys.com")]), ..ROW },
    Row { name: "Cloudflare R2: region of AWS", region: "eu-central-1",
        answer: (400, &[], "<Error><Code>InvalidRegionName</Code><Message>The region name 'eu-central-1' is not valid. Must be one of: wnam, enam, weur, eeur, apac, oc, auto</Message></Error>"),
        means: (WrongRegion, "region", &[("configured", "eu-central-1"), ("expected", "auto")]), ..ROW },
    Row { name: "Alibaba OSS: path-style request",
        answer: (403, &[], "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>SecondLevelDomainForbidden</Code>\n  <Message>Please use virtual hosted style to access.</Message>\n  <HostId>oss-cn-shanghai.aliyuncs.com</HostId>\n</Error>"),
        means: (WrongAddressingStyle, "addressing_style", &[("use", "virtual")]), ..ROW },
    Row { name: "Tencent COS: path-style request",
        answer: (403, &[], "<Error><Code>PathStyleDomainForbidden</Code><Message>The bucket you are attempting to access must be addressed using COS virtual-styled domain.</Message></Error>"),
        means: (WrongAddressingStyle, "addressing_style", &[("use", "virtual")]), ..ROW },
    Row { name: "Huawei OBS: path-style request",
        answer: (403, &[], "<Error><Code>VirtualHostDomainRequired</Code><Message>Virtual host domain is required while accessing a specific bucket.</Message></Error>"),
        means: (WrongAddressingStyle, "addressing_style", &[("use", "virtual")]), ..ROW },
    Row { name: "MinIO without domain: virtual-hosted-style request", operation: PutObject,
        answer: (404, &[], "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message><BucketName>home</BucketName><Resource>/home/backups/x.tar</Resource></Error>"),
        means: (WrongAddressingStyle, "addressing_style", &[("use", "path")]), ..ROW },

    // Answers that are not S3.
    Row { name: "MinIO console", endpoint: "http://nas:9001",
        answer: (404, &[], "<!doctype html><html lang=\"en\"><title>MinIO Console</title></html>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "console_port")]), ..ROW },
    Row { name: "a web console that says yes to everything",
        answer: (200, &[("content-type", "text/html")], "<!DOCTYPE html>\n<html></html>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "an API in JSON",
        answer: (404, &[], "{\"detail\":\"Not Found\"}"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "Home Assistant itself, in plain text",
        answer: (404, &[("content-type", "text/plain")], "404: Not Found"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "Traefik without a route",
        answer: (404, &[], "404 page not found\n"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "a page in XHTML",
        answer: (403, &[], "<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0\" \"x\"><html xmlns=\"http://www.w3.org/1999/xhtml\"><h1>403</h1></html>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "a WebDAV share",
        answer: (405, &[], "<?xml version=\"1.0\"?><d:error xmlns:d=\"DAV:\"><s:message xmlns:s=\"x\">no</s:message></d:error>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "nothing at all",
        answer: (404, &[], ""),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "a login page elsewhere",
        answer: (302, &[("location", "https://nas.local/login?to=%2Fbackups")], ""),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "a password in front of the server",
        answer: (401, &[("www-authenticate", "Basic realm=\"nas\"")], ""),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },
    Row { name: "nginx: plain HTTP on the port for TLS", endpoint: "http://nas:443",
        answer: (400, &[("server", "nginx")], "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "plain_http_on_tls")]), ..ROW },
    Row { name: "MinIO: plain HTTP on the port for TLS", endpoint: "http://nas:9000",
        answer: (400, &[], "Client sent an HTTP request to an HTTPS server.\n"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "plain_http_on_tls")]), ..ROW },
    Row { name: "Cloudflare R2: plain HTTP", endpoint: "http://x.r2.cloudflarestorage.com",
        answer: (301, &[("location", "https://x.r2.cloudflarestorage.com/backups")], "<html><head><title>301 Moved Permanently</title></head></html>"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "plain_http_on_tls")]), ..ROW },
    Row { name: "a proxy that wants a password",
        answer: (407, &[("proxy-authenticate", "Basic realm=\"squid\"")], "<html>ERR_CACHE_ACCESS_DENIED</html>"),
        means: (CannotConnect, "", &[("stage", "proxy")]), ..ROW },
    Row { name: "Cloudflare keeps robots out",
        answer: (403, &[("server", "cloudflare")], "error code: 1010"),
        means: (InvalidEndpoint, "endpoint", &[("reason", "not_s3")]), ..ROW },

    // Permissions.
    Row { name: "AWS: not allowed to list",
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:ListBucket"), ("resource", "arn:aws:s3:::backups")]), ..ROW },
    Row { name: "AWS: names the missing permission", operation: UploadPart,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/ha is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:1:key/2 because no identity-based policy allows the kms:GenerateDataKey action</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "kms:GenerateDataKey")]), ..ROW },
    Row { name: "Garage: key without write permission", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Forbidden: Operation is not allowed for this key.</Message><Region>garage</Region></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject")]), ..ROW },
    Row { name: "Ceph RGW: may not delete, no message", operation: DeleteObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><BucketName>backups</BucketName><RequestId>tx0</RequestId></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:DeleteObject")]), ..ROW },
    Row { name: "SeaweedFS: may not abort", operation: AbortMultipartUpload,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message><Resource>/backups/x</Resource></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:AbortMultipartUpload")]), ..ROW },
    Row { name: "HEAD without the right", operation: HeadObject,
        answer: (403, &[], ""),
        means: (AccessDenied, "bucket", &[("action", "s3:GetObject")]), ..ROW },
    Row { name: "MinIO: HEAD without the right", operation: HeadObject,
        answer: (403, &[("x-minio-error-code", "AccessDenied"), ("x-minio-error-desc", "\"Access Denied.\"")], ""),
        means: (AccessDenied, "bucket", &[("action", "s3:GetObject")]), ..ROW },
    Row { name: "AWS: bucket policy demands encryption", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/ha is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::backups/x.tar\" with an explicit deny in a resource-based policy</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject"), ("reason", "explicit_deny")]), ..ROW },
    Row { name: "AWS: service control policy forbids parts", operation: CreateMultipartUpload,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/ha is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::backups/x.tar\" with an explicit deny in a service control policy</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject"), ("reason", "explicit_deny")]), ..ROW },
    Row { name: "AWS: policy wants MFA to delete", operation: DeleteObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>User: arn:aws:sts::123456789012:assumed-role/ha/x is not authorized to perform: s3:DeleteObject on resource: \"arn:aws:s3:::backups/x.tar\" with an explicit deny in an identity-based policy</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:DeleteObject"), ("reason", "explicit_deny")]), ..ROW },
    Row { name: "AWS: policy of the VPC endpoint",
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/ha is not authorized to perform: s3:ListBucket on resource: \"arn:aws:s3:::backups\" because no VPC endpoint policy allows the s3:ListBucket action</Message></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:ListBucket")]), ..ROW },
    Row { name: "Alibaba OSS: policy forbids it", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access denied by bucket policy.</Message><HostId>backups.oss-cn-hangzhou.aliyuncs.com</HostId><AccessDeniedDetail><PolicyType>AccountLevelIdentityBasedPolicy</PolicyType><NoPermissionType>ExplicitDeny</NoPermissionType></AccessDeniedDetail></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject"), ("reason", "explicit_deny")]), ..ROW },
    Row { name: "Alibaba OSS: nothing allows it", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access denied by authorizer's policy.</Message><AccessDeniedDetail><NoPermissionType>ImplicitDeny</NoPermissionType></AccessDeniedDetail></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject")]), ..ROW },
    Row { name: "Google: policy of the organization", operation: GetObject,
        answer: (403, &[], "<?xml version='1.0' encoding='UTF-8'?><Error><Code>AccessDenied</Code><Message>Access denied.</Message><Details>Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x</Details></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:GetObject"), ("reason", "explicit_deny")]), ..ROW },
    Row { name: "MinIO: policy demands encryption, and it does not say so", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message><BucketName>backups</BucketName></Error>"),
        means: (AccessDenied, "bucket", &[("action", "s3:PutObject")]), ..ROW },
    Row { name: "AWS: object lock", operation: DeleteObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Access Denied because object protected by object lock.</Message></Error>"),
        means: (ObjectLocked, "", &[]), ..ROW },
    Row { name: "MinIO: object lock", operation: DeleteObject,
        answer: (400, &[], "<Error><Code>InvalidRequest</Code><Message>Object is WORM protected and cannot be overwritten</Message></Error>"),
        means: (ObjectLocked, "", &[]), ..ROW },

    // Missing and existing objects.
    Row { name: "AWS: no such object", operation: GetObject,
        answer: (404, &[], "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>k</Key></Error>"),
        means: (NotFound, "", &[]), ..ROW },
    Row { name: "HEAD of nothing", operation: HeadObject,
        answer: (404, &[], ""),
        means: (NotFound, "", &[]), ..ROW },
    Row { name: "AWS: exists already", operation: PutObject,
        answer: (412, &[], "<Error><Code>PreconditionFailed</Code><Message>At least one of the pre-conditions you specified did not hold</Message><Condition>If-None-Match</Condition></Error>"),
        means: (AlreadyExists, "", &[]), ..ROW },
    Row { name: "AWS: another writer at the same moment", operation: CompleteMultipartUpload,
        answer: (409, &[], "<Error><Code>ConditionalRequestConflict</Code><Message>The conditional request cannot succeed due to a conflicting operation against this resource.</Message></Error>"),
        means: (AlreadyExists, "", &[]), ..ROW },
    Row { name: "Garage: replaced while reading, empty body", operation: GetObject,
        answer: (412, &[], ""),
        means: (Modified, "", &[]), ..ROW },
    Row { name: "shorter than it was", operation: GetObject,
        answer: (416, &[], "<Error><Code>InvalidRange</Code><Message>The requested range is not satisfiable</Message></Error>"),
        means: (Modified, "", &[]), ..ROW },
    Row { name: "AWS: upload gone", operation: UploadPart,
        answer: (404, &[], "<Error><Code>NoSuchUpload</Code><Message>The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.</Message></Error>"),
        means: (Modified, "", &[]), ..ROW },
    Row { name: "AWS: in Glacier", operation: GetObject,
        answer: (403, &[], "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the object's storage class</Message><StorageClass>DEEP_ARCHIVE</StorageClass></Error>"),
        means: (ColdStorage, "", &[("storage_class", "DEEP_ARCHIVE")]), ..ROW },

    // The content of the request.
    Row { name: "AWS, radosgw, MinIO: payload damaged on the way", operation: UploadPart,
        answer: (400, &[], "<Error><Code>XAmzContentSHA256Mismatch</Code><Message>The provided 'x-amz-content-sha256' header does not match what was computed.</Message></Error>"),
        means: (IntegrityMismatch, "", &[("where", "part"), ("algorithm", "sha256")]), ..ROW },
    Row { name: "Garage: payload damaged on the way", operation: PutObject,
        answer: (400, &[], "<Error><Code>InvalidDigest</Code><Message>Invalid digest: sha256 hash mismatch</Message><Region>garage</Region></Error>"),
        means: (IntegrityMismatch, "", &[("where", "object")]), ..ROW },
    Row { name: "Cloudflare R2: parts of unequal size", operation: CompleteMultipartUpload,
        answer: (400, &[], "<Error><Code>InvalidPart</Code><Message>All non-trailing parts must have the same length.</Message></Error>"),
        means: (LengthMismatch, "", &[]), ..ROW },
    Row { name: "AWS: part too small", operation: CompleteMultipartUpload,
        answer: (400, &[], "<Error><Code>EntityTooSmall</Code><Message>Your proposed upload is smaller than the minimum allowed size</Message><ProposedSize>1</ProposedSize></Error>"),
        means: (LengthMismatch, "", &[]), ..ROW },
    Row { name: "AWS: object too large", operation: PutObject,
        answer: (400, &[], "<Error><Code>EntityTooLarge</Code><Message>Your proposed upload exceeds the maximum allowed size</Message></Error>"),
        means: (TooLarge, "", &[]), ..ROW },
    Row { name: "nginx: body too large", operation: UploadPart,
        answer: (413, &[("server", "nginx")], "<html><head><title>413 Request Entity Too Large</title></head></html>"),
        means: (TooLarge, "part_size", &[]), ..ROW },
    Row { name: "AWS: default retention wants an MD5", operation: PutObject,
        answer: (400, &[], "<Error><Code>InvalidRequest</Code><Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters</Message></Error>"),
        means: (UnsupportedFeature, "", &[("feature", "Content-MD5")]), ..ROW },
    Row { name: "Backblaze B2: header refused", operation: PutObject,
        answer: (400, &[], "<Error><Code>InvalidArgument</Code><Message>Unsupported header 'x-amz-checksum-crc32' received for this API call.</Message></Error>"),
        means: (UnsupportedFeature, "", &[("feature", "PutObject")]), ..ROW },
    Row { name: "Cloudflare R2: header refused", operation: PutObject,
        answer: (501, &[], "<Error><Code>NotImplemented</Code><Message>Header 'x-amz-checksum-crc32' with value 'x' not implemented</Message></Error>"),
        means: (UnsupportedFeature, "", &[("feature", "PutObject")]), ..ROW },
    Row { name: "s3s-fs: no listing of uploads", operation: ListMultipartUploads,
        answer: (501, &[], "<Error><Code>NotImplemented</Code><Message>ListMultipartUploads is not implemented yet</Message></Error>"),
        means: (UnsupportedFeature, "", &[("feature", "ListMultipartUploads")]), ..ROW },
    Row { name: "SeaweedFS: storage class unknown", operation: PutObject,
        answer: (400, &[], "<Error><Code>InvalidStorageClass</Code><Message>The storage class you specified is not valid</Message></Error>"),
        means: (InvalidConfig, "storage_class", &[("field", "storage_class")]), ..ROW },

    // Space and load.
    Row { name: "Ceph RGW: quota, no message", operation: PutObject,
        answer: (403, &[], "<Error><Code>QuotaExceeded</Code><RequestId>tx0</RequestId></Error>"),
        means: (QuotaExceeded, "", &[]), ..ROW },
    Row { name: "Ceph RGW: full", operation: UploadPart,
        answer: (507, &[], "<Error><Code>InsufficientCapacity</Code><RequestId>tx0</RequestId></Error>"),
        means: (QuotaExceeded, "", &[]), ..ROW },
    Row { name: "MinIO: full", operation: UploadPart,
        answer: (507, &[], "<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.</Message></Error>"),
        means: (QuotaExceeded, "", &[]), ..ROW },
    Row { name: "Garage: quota", operation: PutObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Forbidden: Bucket size quota is reached, maximum total size of objects for this bucket: 500</Message><Region>garage</Region></Error>"),
        means: (QuotaExceeded, "", &[]), ..ROW },
    Row { name: "Backblaze B2: cap", operation: GetObject,
        answer: (403, &[], "<Error><Code>AccessDenied</Code><Message>Transaction cap exceeded, see the Caps &amp; Alerts page to increase your cap.</Message></Error>"),
        means: (QuotaExceeded, "", &[]), ..ROW },
    Row { name: "AWS: too fast", operation: PutObject,
        answer: (503, &[], "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"),
        means: (Throttled, "", &[]), ..ROW },
    Row { name: "Cloudflare R2: too many writes to one key", operation: PutObject,
        answer: (429, &[], "<Error><Code>TooManyRequests</Code><Message>Reduce your concurrent request rate for the same object.</Message></Error>"),
        means: (Throttled, "", &[]), ..ROW },
    Row { name: "MinIO: starting",
        answer: (503, &[], "<Error><Code>XMinioServerNotInitialized</Code><Message>Server not initialized yet, please try again.</Message></Error>"),
        means: (Throttled, "", &[]), ..ROW },
    Row { name: "nginx: nothing behind it",
        answer: (502, &[("server", "nginx")], "<html><head><title>502 Bad Gateway</title></head></html>"),
        means: (RemoteError, "", &[("status", "502")]), ..ROW },
    Row { name: "Cloudflare: origin unreachable",
        answer: (522, &[("server", "cloudflare")], "<!DOCTYPE html><html><title>522: Connection timed out</title></html>"),
        means: (RemoteError, "", &[("status", "522")]), ..ROW },
    Row { name: "AWS: fails", operation: GetObject,
        answer: (500, &[], "<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"),
        means: (RemoteError, "", &[("status", "500")]), ..ROW },
    Row { name: "AWS: fails in the middle of a 200", operation: CompleteMultipartUpload,
        answer: (200, &[], "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\n\n<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"),
        means: (RemoteError, "", &[("status", "200")]), ..ROW },
    Row { name: "AWS: slow down in the middle of a 200", operation: CompleteMultipartUpload,
        answer: (200, &[], "<Error><Code>SlowDown</Code></Error>"),
        means: (Throttled, "", &[]), ..ROW },
    Row { name: "AWS: another change at the same moment", operation: DeleteObject,
        answer: (409, &[], "<Error><Code>OperationAborted</Code><Message>A conflicting conditional operation is currently in progress against this resource. Please try again.</Message></Error>"),
        means: (RemoteError, "", &[("status", "409")]), ..ROW },
    Row { name: "AWS: waited for the body", operation: UploadPart,
        answer: (400, &[], "<Error><Code>RequestTimeout</Code><Message>Your socket connection to the server was not read from or written to within the timeout period.</Message></Error>"),
        means: (Timeout, "", &[("stage", "http")]), ..ROW },
    Row { name: "HAProxy: waited for the body", operation: UploadPart,
        answer: (408, &[], "<html><body><h1>408 Request Time-out</h1></body></html>"),
        means: (Timeout, "", &[("stage", "http")]), ..ROW },
    Row { name: "AWS: body cut", operation: PutObject,
        answer: (400, &[], "<Error><Code>IncompleteBody</Code><Message>The request body terminated unexpectedly</Message></Error>"),
        means: (NetworkLost, "", &[("stage", "http")]), ..ROW },
];

fn context(endpoint: &str, region: &str) -> Context {
    Context {
        endpoint: endpoint.to_owned(),
        bucket: BUCKET.to_owned(),
        region: region.to_owned(),
        keys_look_swapped: false,
        clock_corrected: false,
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer { status, headers, body: body.to_owned() }
}

fn assert_presentable(name: &str, error: &Error) {
    let message = error.message();
    assert!(!message.trim().is_empty(), "{name}");
    assert!(message.chars().count() <= 300, "{name}: {} characters: {message}", message.len());
    assert!(!message.chars().any(char::is_control), "{name}: {message:?}");
    let data = serde_json::to_string(&error.data()).unwrap();
    assert!(data.len() <= 8 << 10, "{name}: {} bytes", data.len());
    for text in [&message, &data] {
        assert!(!text.contains(ECHO), "{name}: {text}");
    }
}

#[test]
fn recorded_answer_gets_its_error_code() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let (status, headers, body) = row.answer;
        let (code, field, details) = row.means;
        let context = context(row.endpoint, row.region);
        let body =
            body.replace("</Error>", &format!("<StringToSign>{ECHO}</StringToSign></Error>"));
        let error = classify(row.operation, &context, &answer(status, headers, &body));
        assert_presentable(row.name, &error);
        let data = error.data();
        let same_details = details.iter().all(|(name, value)| {
            error.details().get(name).is_some_and(|detail| detail.to_string() == *value)
        });
        if error.code() != code
            || data.field.as_deref().unwrap_or_default() != field
            || !same_details
        {
            wrong.push(format!(
                "{}: wanted {code}, \"{field}\", {details:?}, got {error:?}",
                row.name
            ));
        }
        let upstream = data.upstream.unwrap();
        assert_eq!((upstream.status, upstream.operation), (status, format!("{:?}", row.operation)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ROWS.len() >= 45, "only {} rows", ROWS.len());
}

/// An answer of a server whose clock is `ahead` seconds ahead of ours.
fn at(ahead: i64) -> (String, String) {
    let now = chrono::Utc::now() + chrono::Duration::seconds(ahead);
    (
        now.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        now.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
    )
}

#[test]
fn wrong_clock_is_recognized_from_any_server_code() {
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too large.</Message></Error>";
    let with_time = skewed.replace("</Message>", "</Message><ServerTime>TIME</ServerTime><MaxAllowedSkewMilliseconds>900000</MaxAllowedSkewMilliseconds>");
    for (name, status, body) in [
        ("AWS", 403, with_time.as_str()),
        ("MinIO, SeaweedFS, radosgw, s3s", 403, skewed),
        (
            "Garage",
            400,
            "<Error><Code>InvalidRequest</Code><Message>Bad request: Date is too old</Message><Region>garage</Region></Error>",
        ),
        (
            "Cloudflare R2",
            400,
            "<Error><Code>ExpiredRequest</Code><Message>Request has expired</Message></Error>",
        ),
        ("rclone", 400, "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
        ("Oracle", 403, "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>"),
    ] {
        for (ahead, words) in [(2850, "47 minutes behind"), (-90_000, "25 hours ahead of")] {
            let (iso, http) = at(ahead);
            // AWS sends it twice; the document takes precedence over the header.
            let headers =
                if body.contains("TIME") { vec![] } else { vec![("date", http.as_str())] };
            let error = classify(
                ListObjectsV2,
                &context("https://s3.example.org", "us-east-1"),
                &answer(status, &headers, &body.replace("TIME", &iso)),
            );
            assert_presentable(name, &error);
            assert_eq!(error.code(), ClockSkew, "{name}: {error:?}");
            let skew: i64 = error.details().get("skew_s").unwrap().to_string().parse().unwrap();
            assert!((skew + ahead).abs() <= 5, "{name}: {skew}");
            assert!(error.message().contains(words), "{name}: {}", error.message());
        }
    }
}

#[test]
fn bare_refusal_with_other_clock_is_clock_skew() {
    let region: (&str, &str) = ("x-amz-bucket-region", "us-east-1");
    for (operation, status, headers) in [
        (HeadObject, 403, vec![]),
        (HeadObject, 400, vec![]),
        (HeadObject, 401, vec![]),
        (HeadObject, 403, vec![region]),
        (GetObject, 403, vec![]),
        (DeleteObject, 403, vec![]),
        (ListObjectsV2, 401, vec![("www-authenticate", "AWS4-HMAC-SHA256")]),
        (HeadObject, 403, vec![("x-minio-error-code", "AccessDenied")]),
    ] {
        for ahead in [7200, -7200, 86_400 * 400] {
            let (_, http) = at(ahead);
            let headers = [&headers[..], &[("date", http.as_str())]].concat();
            let mut context = context("https://s3.example.org", "us-east-1");
            let error = classify(operation, &context, &answer(status, &headers, ""));
            assert_eq!(error.code(), ClockSkew, "{operation:?} {status}: {error:?}");
            assert!(error.details().contains_key("skew_s"), "{error:?}");
            // A request signed with the server's clock is refused for another reason.
            context.clock_corrected = true;
            let error = classify(operation, &context, &answer(status, &headers, ""));
            assert_ne!(error.code(), ClockSkew, "{operation:?} {status}: {error:?}");
        }
    }
}

#[test]
fn bare_refusal_with_same_clock_is_not_clock_skew() {
    let (_, now) = at(600);
    let (_, other) = at(7200);
    let context = context("https://s3.example.org", "us-east-1");
    for (status, headers, code) in [
        (403, vec![("date", now.as_str())], AccessDenied),
        (403, vec![], AccessDenied),
        (403, vec![("date", "soon")], AccessDenied),
        (404, vec![("date", other.as_str())], NotFound),
        (400, vec![("date", other.as_str()), ("x-amz-bucket-region", "eu-west-1")], WrongRegion),
        (
            403,
            vec![("date", other.as_str()), ("x-minio-error-code", "InvalidAccessKeyId")],
            InvalidCredentials,
        ),
    ] {
        let error = classify(HeadObject, &context, &answer(status, &headers, ""));
        assert_eq!(error.code(), code, "{headers:?}: {error:?}");
    }
}

#[test]
fn extreme_dates_do_not_panic() {
    for time in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "+262142-12-31T23:59:59Z"] {
        for date in ["Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 0000 00:00:00 -2359", ""] {
            let body = format!(
                "<Error><Code>RequestTimeTooSkewed</Code><ServerTime>{time}</ServerTime></Error>"
            );
            let headers = [("date", date), ("retry-after", date)];
            for (status, body) in
                [(403, body.as_str()), (403, ""), (503, "<Error><Code>SlowDown</Code></Error>")]
            {
                let context = context("https://s3.example.org", "us-east-1");
                let error = classify(HeadObject, &context, &answer(status, &headers, body));
                assert_presentable("made up", &error);
            }
        }
    }
}

#[test]
fn explicit_deny_is_not_explained_as_missing_permission() {
    for row in ROWS.iter().filter(|row| row.means.0 == AccessDenied && row.means.1 == "bucket") {
        let (status, headers, body) = row.answer;
        let context = context(row.endpoint, row.region);
        let error = classify(row.operation, &context, &answer(status, headers, body));
        let message = error.message();
        let forbidden = error.details().contains_key("reason");
        assert_eq!(
            message.contains("forbids") && message.contains("conditions"),
            forbidden,
            "{message}"
        );
        assert_eq!(message.contains("grant it"), !forbidden && !body.contains("VPC"), "{message}");
        let writes = matches!(row.operation, PutObject | CreateMultipartUpload);
        if forbidden {
            assert_eq!(message.contains("server_side_encryption"), writes, "{message}");
            assert_eq!(message.contains("MFA"), row.operation == DeleteObject, "{message}");
        }
    }
}

#[test]
fn swapped_account_keys_are_reported_for_any_response() {
    for (name, status, body) in [
        (
            "AWS",
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the Credential is mal-formed; expecting \"&lt;YOUR-AKID&gt;/YYYYMMDD/REGION/SERVICE/aws4_request\".</Message></Error>",
        ),
        (
            "MinIO",
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region is wrong; expecting 'eu-central-1'.</Message><Region>eu-central-1</Region></Error>",
        ),
        (
            "Garage",
            400,
            "<Error><Code>InvalidRequest</Code><Message>Bad request: Invalid Authorization header</Message></Error>",
        ),
        (
            "s3s",
            501,
            "<Error><Code>NotImplemented</Code><Message>unknown operation</Message></Error>",
        ),
        (
            "SeaweedFS",
            403,
            "<Error><Code>InvalidAccessKeyId</Code><Message>wJalrXUtnFEMI/K7MDENG does not exist</Message></Error>",
        ),
        ("Ceph", 403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"),
        (
            "Cloudflare R2",
            400,
            "<Error><Code>InvalidArgument</Code><Message>Credential access key has length 64, should be 32</Message></Error>",
        ),
        ("a HEAD", 403, ""),
        ("IBM", 401, ""),
        ("none", 400, ""),
    ] {
        let mut context = context("https://s3.example.org", "us-east-1");
        context.keys_look_swapped = true;
        let error = classify(ListObjectsV2, &context, &answer(status, &[], body));
        assert_presentable(name, &error);
        assert_eq!(error.code(), InvalidCredentials, "{name}: {error:?}");
        assert_eq!(error.data().field.as_deref(), Some("access_key_id"), "{name}");
        assert!(error.message().contains("swapped"), "{name}: {error:?}");
    }
}

#[test]
fn swapped_account_keys_do_not_hide_other_causes() {
    for (status, body, code) in [
        (404, "<Error><Code>NoSuchBucket</Code></Error>", BucketNotFound),
        (403, "<Error><Code>QuotaExceeded</Code></Error>", QuotaExceeded),
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", ClockSkew),
        (503, "<Error><Code>SlowDown</Code></Error>", Throttled),
        (400, "<html>Bad Request</html>", InvalidEndpoint),
        (407, "", CannotConnect),
    ] {
        let mut context = context("https://s3.example.org", "us-east-1");
        context.keys_look_swapped = true;
        let error = classify(ListObjectsV2, &context, &answer(status, &[], body));
        assert_eq!(error.code(), code, "{body}: {error:?}");
    }
}

#[test]
fn server_text_has_no_hidden_characters_or_signatures() {
    let digest = "0123456789abcdef".repeat(4);
    for (said, kept) in [
        ("a\u{202e}gpj.exe", "a\u{fffd}gpj.exe"),
        ("\u{9b}31mred\u{7f}", "31mred"),
        ("line\u{2028}line\u{200b}\u{2066}", "line line\u{fffd}"),
        ("אין גישה 👩\u{200d}👧", "אין גישה 👩\u{200d}👧"),
        (digest.as_str(), "[redacted]"),
        ("signed AWS4-HMAC-SHA256\n20261130T000000Z\nscope\nx", "signed [redacted]"),
    ] {
        for (status, code) in
            [(403, "AccessDenied"), (400, "InvalidArgument"), (500, "InternalError")]
        {
            let body = format!(
                "<Error><Code>{code}</Code><Message>{said}</Message><RequestId>{said}</RequestId></Error>"
            );
            let context = context("https://s3.example.org", "us-east-1");
            let error = classify(ListObjectsV2, &context, &answer(status, &[], &body));
            let upstream = error.data().upstream.unwrap();
            assert_eq!(upstream.message.as_deref(), Some(kept));
            assert_eq!(upstream.request_id.as_deref(), Some(kept));
            assert!(!format!("{error} {error:?}").contains(said) || said == kept, "{error:?}");
        }
    }
}

#[test]
fn correct_clock_is_not_blamed() {
    let (_, now) = at(-30);
    for (status, code, meaning) in
        [(403, "SignatureDoesNotMatch", InvalidCredentials), (403, "AccessDenied", AccessDenied)]
    {
        let body = format!("<Error><Code>{code}</Code></Error>");
        let answer = answer(status, &[("date", &now)], &body);
        let error = classify(PutObject, &context("https://s3.example.org", "us-east-1"), &answer);
        assert_eq!(error.code(), meaning);
    }
}

#[test]
fn retry_after_of_server_is_passed_on() {
    let (_, now) = at(0);
    let (_, later) = at(120);
    for (headers, wanted) in [
        (vec![], None),
        (vec![("retry-after", "15")], Some(15_000)),
        (vec![("retry-after", "99999999999999")], Some(86_400_000)),
        (vec![("date", now.as_str()), ("retry-after", later.as_str())], Some(120_000)),
        (vec![("retry-after", "soon")], None),
    ] {
        let answer = answer(503, &headers, "<Error><Code>SlowDown</Code></Error>");
        let error = classify(UploadPart, &context("https://s3.example.org", "us-east-1"), &answer);
        assert_eq!(error.data().retry_after_ms, wanted, "{headers:?}");
    }
}

#[test]
fn wrong_aws_region_also_names_the_endpoint() {
    let context = context("https://s3.us-east-1.amazonaws.com", "us-east-1");
    let answer = answer(301, &[("x-amz-bucket-region", "eu-west-1")], "");
    let error = classify(HeadObject, &context, &answer);
    assert!(error.message().contains("https://s3.eu-west-1.amazonaws.com"), "{}", error.message());
}

#[test]
fn deep_or_long_xml_does_not_panic() {
    let long = "x".repeat(70_000);
    for body in [
        "<a>".repeat(20_000),
        format!("<Error>{}</Error>", "<Code>".repeat(10_000)),
        format!("<Error><Code>{long}</Code><Message>{long}</Message><Region>{long}</Region></Error>"),
        format!("<Error><Code>PermanentRedirect</Code><Endpoint>{long}</Endpoint></Error>"),
        format!("<Error><Code>AccessDenied</Code><Message>not authorized to perform: s3:{long}</Message></Error>"),
        "<!DOCTYPE x [<!ENTITY a \"aaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><Error><Code>&b;</Code></Error>".to_owned(),
    ] {
        let context = context("https://s3.example.org", "us-east-1");
        for status in [200, 301, 400, 403, 503] {
            let error = classify(GetObject, &context, &answer(status, &[], &body));
            assert_presentable("made up", &error);
        }
    }
}

fn operations() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(ListObjectsV2),
        Just(GetObject),
        Just(HeadObject),
        Just(PutObject),
        Just(DeleteObject),
        Just(CreateMultipartUpload),
        Just(UploadPart),
        Just(CompleteMultipartUpload),
        Just(AbortMultipartUpload),
        Just(ListMultipartUploads),
    ]
}

/// Documents of the right shape with arbitrary content, and text without any structure.
fn bodies() -> impl Strategy<Value = String> {
    let code = prop_oneof![
        proptest::sample::select(ROWS).prop_map(|row| code_of(row.answer.2)),
        "\\PC{0,40}",
    ];
    let document = (code, "[^<&]{0,3000}", "[^<&]{0,200}", "[^<&]{0,80}").prop_map(
        |(code, message, region, time)| {
            format!(
                "<Error><Code>{code}</Code><Message>{message}</Message><Region>{region}</Region>\
                 <Endpoint>{region}</Endpoint><BucketName>{region}</BucketName>\
                 <ServerTime>{time}</ServerTime></Error>"
            )
        },
    );
    prop_oneof![3 => document, 1 => any::<String>(), 1 => "<?[a-zA-Z!/<> ]{0,60}"]
}

fn code_of(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map(|(code, _)| code.to_owned()).unwrap_or_default()
}

proptest! {
    #[test]
    fn any_response_gets_a_presentable_error(
        operation in operations(),
        status in 100_u16..600,
        header in proptest::sample::select(vec![
            "date", "location", "retry-after", "x-amz-bucket-region", "x-minio-error-code",
            "x-minio-error-desc", "x-amz-request-id", "www-authenticate",
        ]),
        value in any::<String>(),
        body in bodies(),
        endpoint in "https?://[a-z.]{1,40}(:9001)?",
    ) {
        let answer = answer(status, &[(header, &value)], &body);
        let error = classify(operation, &context(&endpoint, "us-east-1"), &answer);
        assert_presentable("made up", &error);
    }
}
