"""Who may use a key: key policies and their conditions, other accounts, grants."""

import json

from frame import CUSTOMER, VENDOR, WEST, after, client, customer, once, refused, says, unique

kms = client("kms")
ROOT, FOREIGN = f"arn:aws:iam::{VENDOR}:root", f"arn:aws:iam::{CUSTOMER}:root"
ADMIN = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}


def allow(*actions, principal=FOREIGN, **more):
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*", **more}


def key(*statements, by=kms, **arguments):
    policy = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": list(statements)})} if statements else {}
    return by.create_key(**policy, **arguments)["KeyMetadata"]["Arn"]


def encrypt(arn, by=None, **more):
    return (by or customer()).encrypt(KeyId=arn, Plaintext=b"x", **more)["KeyId"] == arn


plain = once(key)
says("Another account: the default policy allows it nothing", refused("AccessDeniedException", 400, "is not authorized to perform: kms:Encrypt"), lambda: encrypt(plain()))
says("Another account: DescribeKey as little", refused("AccessDeniedException"), lambda: customer().describe_key(KeyId=plain()))
says("Another account: a policy that names its root lets it in", True, lambda: encrypt(key(ADMIN, allow("kms:Encrypt"))))
says("Another account: only for the actions that are named", refused("AccessDeniedException"), lambda: customer().generate_data_key(KeyId=key(ADMIN, allow("kms:Encrypt")), KeySpec="AES_256"))
says("Another account: actions with wildcards", True, lambda: "Plaintext" in customer().generate_data_key(KeyId=key(ADMIN, allow("kms:GenerateDataKey*")), KeySpec="AES_256"))
says("Another account: its role named instead of its root", True, lambda: encrypt(key(ADMIN, allow("kms:Encrypt", principal=f"arn:aws:iam::{CUSTOMER}:role/admin"))))
says("Another account: another role named", refused("AccessDeniedException"), lambda: encrypt(key(ADMIN, allow("kms:Encrypt", principal=f"arn:aws:iam::{CUSTOMER}:role/other"))))
says("Another account: DescribeKey says whose key it is", VENDOR, lambda: customer().describe_key(KeyId=key(ADMIN, allow("kms:DescribeKey")))["KeyMetadata"]["AWSAccountId"])
says("Another account: GetKeyRotationStatus is for it too", False, lambda: customer().get_key_rotation_status(KeyId=key(ADMIN, allow("kms:GetKeyRotationStatus")))["KeyRotationEnabled"])
says("Deny beats Allow", refused("AccessDeniedException", 400, "explicit deny"), lambda: encrypt(key(ADMIN, allow("kms:*"), {**allow("kms:Encrypt"), "Effect": "Deny"})))
says("NotPrincipal: everybody else", refused("AccessDeniedException"), lambda: encrypt(key(ADMIN, allow("kms:*"), {"Effect": "Deny", "NotPrincipal": {"AWS": ROOT}, "Action": "kms:Encrypt", "Resource": "*"})))
says("NotAction: everything else", refused("AccessDeniedException"), lambda: encrypt(key(ADMIN, {"Effect": "Allow", "Principal": {"AWS": FOREIGN}, "NotAction": "kms:Encrypt", "Resource": "*"})))
CONDITIONS = {
    "StringEquals kms:CallerAccount, its own": ({"StringEquals": {"kms:CallerAccount": CUSTOMER}}, True),
    "StringEquals kms:CallerAccount, another": ({"StringEquals": {"kms:CallerAccount": VENDOR}}, False),
    "StringNotEquals kms:CallerAccount": ({"StringNotEquals": {"kms:CallerAccount": CUSTOMER}}, False),
    "StringLike kms:CallerAccount": ({"StringLike": {"kms:CallerAccount": "1234*"}}, True),
    "StringEqualsIgnoreCase kms:KeySpec": ({"StringEqualsIgnoreCase": {"kms:KeySpec": "symmetric_default"}}, True),
    "StringEquals kms:KeyOrigin": ({"StringEquals": {"kms:KeyOrigin": "AWS_KMS"}}, True),
    "StringEquals kms:ViaService, a direct call": ({"StringEquals": {"kms:ViaService": f"rds.{WEST}.amazonaws.com"}}, False),
    "Bool kms:GrantIsForAWSResource, a direct call": ({"Bool": {"kms:GrantIsForAWSResource": "true"}}, False),
    "StringEquals kms:EncryptionContext, as asked": ({"StringEquals": {"kms:EncryptionContext:a": "1"}}, True),
    "StringEquals kms:EncryptionContext, another value": ({"StringEquals": {"kms:EncryptionContext:a": "2"}}, False),
    "ForAllValues kms:EncryptionContextKeys": ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a"]}}, True),
    "Null kms:EncryptionContextKeys": ({"Null": {"kms:EncryptionContextKeys": "true"}}, False),
    "ArnLike aws:PrincipalArn": ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{CUSTOMER}:role/*"}}, True),
    "StringEquals aws:RequestedRegion, another": ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
    "NumericLessThan aws:EpochTime": ({"NumericLessThan": {"aws:EpochTime": "1"}}, False),
    "StringEqualsIfExists of what is not there": ({"StringEqualsIfExists": {"kms:ViaService": "x"}}, True),
    "IpAddress aws:SourceIp, its own": ({"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "127.0.0.0/8"]}}, True),
    "IpAddress aws:SourceIp, another": ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
    "NotIpAddress aws:SourceIp": ({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}, False),
    "BinaryEquals": ({"BinaryEquals": {"kms:KeyOrigin": "QVdTX0tNUw=="}}, True),
    "two operators, one of which does not hold": ({"StringEquals": {"kms:CallerAccount": CUSTOMER}, "Bool": {"aws:SecureTransport": "false"}}, False),
}
for name, (condition, lets) in CONDITIONS.items():
    says(f"Condition: {name}", True if lets else refused("AccessDeniedException"),
         lambda: encrypt(key(ADMIN, allow("kms:Encrypt", Condition=condition)), EncryptionContext={"a": "1"}))
says("Condition: kms:EncryptionAlgorithm", refused("AccessDeniedException"), lambda: encrypt(key(ADMIN, allow("kms:Encrypt", Condition={"StringEquals": {"kms:EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}}))))
says("Condition: kms:ResourceAliases", True, lambda: (lambda name: (lambda arn: after(lambda: kms.create_alias(AliasName=name, TargetKeyId=arn), lambda: encrypt(arn)))(
    key(ADMIN, allow("kms:Encrypt", Condition={"ForAnyValue:StringEquals": {"kms:ResourceAliases": name}}))))("alias/" + unique()))
says("Condition: aws:ResourceTag", True, lambda: encrypt(key(ADMIN, allow("kms:Encrypt", Condition={"StringEquals": {"aws:ResourceTag/use": "checks"}}), Tags=[{"TagKey": "use", "TagValue": "checks"}])))
says("Another account's alias, by its ARN", True, lambda: (lambda name: (lambda arn: after(lambda: kms.create_alias(AliasName=name, TargetKeyId=arn), lambda: customer().encrypt(
    KeyId=f"arn:aws:kms:{WEST}:{VENDOR}:{name}", Plaintext=b"x")["KeyId"] == arn))(key(ADMIN, allow("kms:Encrypt"))))("alias/" + unique()))
says("Another account: PutKeyPolicy takes effect", refused("AccessDeniedException"), lambda: (lambda arn: after(
    lambda: encrypt(arn), lambda: kms.put_key_policy(KeyId=arn, Policy=json.dumps({"Version": "2012-10-17", "Statement": [ADMIN]})), lambda: encrypt(arn)))(key(ADMIN, allow("kms:Encrypt"))))
# What a policy for a service's use lets a caller do itself
GRANTS = ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"]
vendors = once(lambda: key(ADMIN, allow("kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"),
                           allow(*GRANTS, Condition={"Bool": {"kms:GrantIsForAWSResource": "true"}})))
says("GrantIsForAWSResource: encryption is allowed", True, lambda: encrypt(vendors()))
says("GrantIsForAWSResource: a direct CreateGrant is not", refused("AccessDeniedException"), lambda: customer().create_grant(KeyId=vendors(), GranteePrincipal=FOREIGN, Operations=["Decrypt"]))
says("GrantIsForAWSResource: not even as a dry run", refused("AccessDeniedException"), lambda: customer().create_grant(KeyId=vendors(), GranteePrincipal=FOREIGN, Operations=["Decrypt"], DryRun=True))
says("GrantIsForAWSResource: nor ListGrants", refused("AccessDeniedException"), lambda: customer().list_grants(KeyId=vendors()))
says("GrantIsForAWSResource: nor RevokeGrant", refused("AccessDeniedException"), lambda: customer().revoke_grant(KeyId=vendors(), GrantId="0" * 64))
says("DryRun: without permission", refused("AccessDeniedException"), lambda: customer().encrypt(KeyId=plain(), Plaintext=b"x", DryRun=True))
says("ReEncrypt: from one's own key to another account's", True, lambda: (lambda own: customer().re_encrypt(CiphertextBlob=customer().encrypt(KeyId=own, Plaintext=b"x")["CiphertextBlob"], DestinationKeyId=vendors())["KeyId"] == vendors())(key(by=customer())))
# Grants
granted = once(lambda: (lambda arn: (arn, kms.create_grant(KeyId=arn, GranteePrincipal=FOREIGN, RetiringPrincipal=FOREIGN, Operations=["Encrypt", "DescribeKey", "RetireGrant"], Name="first")))(key()))
says("CreateGrant: the grantee may", True, lambda: encrypt(granted()[0]))
says("CreateGrant: only what the grant says", refused("AccessDeniedException"), lambda: customer().generate_data_key(KeyId=granted()[0], KeySpec="AES_256"))
says("CreateGrant: GrantId has 64 characters", 64, lambda: len(granted()[1]["GrantId"]))
again = once(lambda: kms.create_grant(KeyId=granted()[0], GranteePrincipal=FOREIGN, RetiringPrincipal=FOREIGN, Operations=["Encrypt", "DescribeKey", "RetireGrant"], Name="first"))
says("CreateGrant: the same name and parameters are the same grant", True, lambda: again()["GrantId"] == granted()[1]["GrantId"])
says("CreateGrant: with a token of its own all the same", True, lambda: again()["GrantToken"] != granted()[1]["GrantToken"])
says("CreateGrant: without a name every call makes one", True, lambda: (lambda make: make() != make())(lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"])["GrantId"]))
says("CreateGrant: the token can be used", True, lambda: encrypt(granted()[0], GrantTokens=[granted()[1]["GrantToken"]]))
says("CreateGrant: no operations", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=[]))
says("CreateGrant: an unknown operation", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Fly"]))
says("CreateGrant: Sign with an encryption key", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Sign"]))
says("CreateGrant: GenerateDataKey with an asymmetric key", refused("ValidationException"), lambda: kms.create_grant(KeyId=key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT"), GranteePrincipal=FOREIGN, Operations=["GenerateDataKey"]))
says("CreateGrant: a grantee that is no principal", refused("InvalidArnException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal="dave", Operations=["Encrypt"]))
says("CreateGrant: a service without SourceArn", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteeServicePrincipal="rds.amazonaws.com", RetiringPrincipal=ROOT, Operations=["Encrypt"]))
says("CreateGrant: dry run", refused("DryRunOperationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"], DryRun=True))
says("CreateGrant: a key that is not there", refused("NotFoundException"), lambda: kms.create_grant(KeyId="12345678-1234-1234-1234-123456789012", GranteePrincipal=FOREIGN, Operations=["Encrypt"]))
for kind, wanted, right, wrong in (("EncryptionContextEquals", {"a": "1"}, {"a": "1"}, {"a": "1", "b": "2"}), ("EncryptionContextSubset", {"a": "1"}, {"a": "1", "b": "2"}, {"b": "2"})):
    held = once(lambda kind=kind, wanted=wanted: (lambda arn: after(lambda: kms.create_grant(KeyId=arn, GranteePrincipal=FOREIGN, Operations=["Encrypt"], Constraints={kind: wanted}), lambda: arn))(key()))
    says(f"CreateGrant: {kind} holds", True, lambda: encrypt(held(), EncryptionContext=right))
    says(f"CreateGrant: {kind} does not hold", refused("AccessDeniedException"), lambda: encrypt(held(), EncryptionContext=wrong))
says("CreateGrant: nine pairs in a constraint", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"], Constraints={"EncryptionContextSubset": {f"k{n}": "1" for n in range(9)}}))
says("CreateGrant: eight are allowed", 64, lambda: len(kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"], Constraints={"EncryptionContextSubset": {f"k{n}": "1" for n in range(8)}})["GrantId"]))
says("CreateGrant: a value of 385 characters in a constraint", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"], Constraints={"EncryptionContextSubset": {"k": "x" * 385}}))
says("CreateGrant: both kinds of constraint", refused("ValidationException"), lambda: kms.create_grant(KeyId=plain(), GranteePrincipal=FOREIGN, Operations=["Encrypt"], Constraints={"EncryptionContextSubset": {"a": "1"}, "EncryptionContextEquals": {"a": "1"}}))


def constrained(constraint, **more):
    """A key of the vendor's on which the customer has a grant of its own, under a constraint or none."""
    arn = key()
    kms.create_grant(KeyId=arn, GranteePrincipal=FOREIGN, Operations=["CreateGrant", "Encrypt", "DescribeKey"], **({"Constraints": constraint} if constraint else {}), **more)
    return arn


passed_on = lambda arn, operations=("Encrypt",), **more: customer().create_grant(KeyId=arn, GranteePrincipal="arn:aws:iam::111122223333:root", Operations=list(operations), **more)["GrantId"]
says("CreateGrant: names of a constraint are compared without case", True, lambda: encrypt(constrained({"EncryptionContextEquals": {"Dept": "it"}}), EncryptionContext={"dept": "it"}))
says("CreateGrant: its values with it", refused("AccessDeniedException"), lambda: encrypt(constrained({"EncryptionContextSubset": {"Dept": "it"}}), EncryptionContext={"Dept": "IT"}))
says("A grantee's grant: with some of its own operations", 64, lambda: len(passed_on(constrained(None))))
says("A grantee's grant: an operation that it lacks itself", refused("AccessDeniedException"), lambda: passed_on(constrained(None), ["Encrypt", "Decrypt"]))
says("A grantee's grant: without its constraint", refused("AccessDeniedException"), lambda: passed_on(constrained({"EncryptionContextSubset": {"a": "1"}})))
says("A grantee's grant: with another constraint", refused("AccessDeniedException"), lambda: passed_on(constrained({"EncryptionContextSubset": {"a": "1"}}), Constraints={"EncryptionContextSubset": {"b": "1"}}))
says("A grantee's grant: with a stricter one", 64, lambda: len(passed_on(constrained({"EncryptionContextSubset": {"a": "1"}}), Constraints={"EncryptionContextSubset": {"A": "1", "b": "1"}})))
says("A grantee's grant: Equals within Subset", 64, lambda: len(passed_on(constrained({"EncryptionContextSubset": {"a": "1"}}), Constraints={"EncryptionContextEquals": {"a": "1"}})))
says("A grantee's grant: Subset within Equals", refused("AccessDeniedException"), lambda: passed_on(constrained({"EncryptionContextEquals": {"a": "1"}}), Constraints={"EncryptionContextSubset": {"a": "1"}}))
entry = once(lambda: kms.list_grants(KeyId=granted()[0], GrantId=granted()[1]["GrantId"])["Grants"][0])
for member, value in {"Name": "first", "GranteePrincipal": FOREIGN, "RetiringPrincipal": FOREIGN, "IssuingAccount": ROOT, "Operations": ["Encrypt", "DescribeKey", "RetireGrant"]}.items():
    says(f"ListGrants: {member}", value, lambda: entry()[member])
many = once(lambda: (lambda arn: after(lambda: [kms.create_grant(KeyId=arn, GranteePrincipal=FOREIGN, Operations=["Encrypt"]) for _ in range(3)], lambda: arn))(key()))
says("ListGrants: pages", (2, True, 1, False), lambda: (lambda first: (lambda rest: (len(first["Grants"]), first["Truncated"], len(rest["Grants"]), rest["Truncated"]))(kms.list_grants(KeyId=many(), Marker=first["NextMarker"])))(kms.list_grants(KeyId=many(), Limit=2)))
says("ListGrants: of another grantee", [], lambda: kms.list_grants(KeyId=many(), GranteePrincipal=ROOT)["Grants"])
says("ListRetirableGrants", True, lambda: granted()[1]["GrantId"] in [found["GrantId"] for page in kms.get_paginator("list_retirable_grants").paginate(RetiringPrincipal=FOREIGN) for found in page["Grants"]])
says("ListRetirableGrants: not those of others", False, lambda: granted()[1]["GrantId"] in [found["GrantId"] for found in kms.list_retirable_grants(RetiringPrincipal=ROOT)["Grants"]])
temporary = lambda **more: (lambda arn: (arn, kms.create_grant(KeyId=arn, GranteePrincipal=FOREIGN, Operations=["Encrypt"], **more)))(key())
says("RevokeGrant ends it", refused("AccessDeniedException"), lambda: (lambda made: after(lambda: encrypt(made[0]), lambda: kms.revoke_grant(KeyId=made[0], GrantId=made[1]["GrantId"]), lambda: encrypt(made[0])))(temporary()))
says("RevokeGrant: dry run", refused("DryRunOperationException"), lambda: kms.revoke_grant(KeyId=granted()[0], GrantId=granted()[1]["GrantId"], DryRun=True))
says("RevokeGrant: a grant that is not there", refused("NotFoundException"), lambda: kms.revoke_grant(KeyId=plain(), GrantId="0" * 64))
says("RetireGrant: by the retiring principal, with the token", refused("AccessDeniedException"), lambda: (lambda made: after(lambda: customer().retire_grant(GrantToken=made[1]["GrantToken"]), lambda: encrypt(made[0])))(temporary(RetiringPrincipal=FOREIGN)))
says("RetireGrant: by the account that made it", True, lambda: (lambda made: after(lambda: kms.retire_grant(KeyId=made[0], GrantId=made[1]["GrantId"]), lambda: kms.list_grants(KeyId=made[0])["Grants"] == []))(temporary()))
says("RetireGrant: by a grantee that may not", refused("AccessDeniedException"), lambda: (lambda made: customer().retire_grant(KeyId=made[0], GrantId=made[1]["GrantId"]))(temporary()))
says("RetireGrant: dry run", refused("DryRunOperationException"), lambda: kms.retire_grant(KeyId=granted()[0], GrantId=granted()[1]["GrantId"], DryRun=True))
says("RetireGrant: a token that is none", refused("InvalidGrantTokenException"), lambda: kms.retire_grant(GrantToken="nonsense"))
# Another partition
says("Another partition: ARNs", True, lambda: client("kms", "us-gov-west-1").create_key()["KeyMetadata"]["Arn"].startswith("arn:aws-us-gov:kms:us-gov-west-1:"))
says("Another partition: principals of this one are none", refused("MalformedPolicyDocumentException"), lambda: key(ADMIN, allow("kms:Encrypt"), by=client("kms", "us-gov-west-1")))
