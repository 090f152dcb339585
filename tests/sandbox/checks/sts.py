"""STS: who am I, sessions in other accounts."""

from frame import CUSTOMER, VENDOR, client, customer_credentials, refused, says

sts = client("sts")
ROLE = f"arn:aws:iam::{CUSTOMER}:role/admin"
assume = lambda **more: sts.assume_role(**{"RoleArn": ROLE, "RoleSessionName": "checks", **more})
says("GetCallerIdentity: the default account", VENDOR, lambda: sts.get_caller_identity()["Account"])
says("AssumeRole: access keys begin with ASIA", True, lambda: customer_credentials()["AccessKeyId"].startswith("ASIA"))
says("AssumeRole: the assumed role", f"arn:aws:sts::{CUSTOMER}:assumed-role/admin/checks", lambda: assume()["AssumedRoleUser"]["Arn"])
says("GetCallerIdentity: in the role's account", (CUSTOMER, f"arn:aws:sts::{CUSTOMER}:assumed-role/admin/checks"),
     lambda: (lambda found: (found["Account"], found["Arn"]))(client("sts", credentials=customer_credentials()).get_caller_identity()))
says("AssumeRole: 899 seconds", refused("ValidationError", 400, "durationSeconds"), lambda: assume(DurationSeconds=899))
says("AssumeRole: 43201 seconds", refused("ValidationError", 400, "durationSeconds"), lambda: assume(DurationSeconds=43201))
says("AssumeRole: a session name of one character", refused("ValidationError"), lambda: assume(RoleSessionName="x"))
says("AssumeRole: a role that is no ARN", refused("ValidationError"), lambda: assume(RoleArn="role/admin-of-nothing-at-all"))
says("A session with another's token", refused("InvalidClientTokenId", 403), lambda: client("sts", credentials={**customer_credentials(), "SessionToken": "x"}).get_caller_identity())
says("GetSessionToken: temporary credentials of the same account", VENDOR, lambda: client("sts", credentials=sts.get_session_token()["Credentials"]).get_caller_identity()["Account"])
says("GetSessionToken: a KMS key made with them is the account's", True, lambda: f":{VENDOR}:" in client("kms", credentials=sts.get_session_token()["Credentials"]).create_key()["KeyMetadata"]["Arn"])
says("GetAccessKeyInfo: whose a session's access key is", CUSTOMER, lambda: sts.get_access_key_info(AccessKeyId=customer_credentials()["AccessKeyId"])["Account"])
