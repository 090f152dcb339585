"""Keys of KMS: create, describe, list, states, deletion, aliases, tags, policies' form."""

import json

from frame import EAST, VENDOR, WEST, after, client, customer, once, refused, says, unique

kms, east = client("kms"), client("kms", EAST)


def new(**arguments):
    return kms.create_key(**arguments)["KeyMetadata"]


def key(**arguments):
    return new(**arguments)["Arn"]


def describe(arn, by=kms):
    return by.describe_key(KeyId=arn)["KeyMetadata"]


def state(arn):
    return describe(arn)["KeyState"]


plain = once(key)


@once
def disabled():
    arn = key()
    kms.disable_key(KeyId=arn)
    return arn


@once
def leaving():
    arn = key()
    kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    return arn


@once
def empty():
    return key(Origin="EXTERNAL")


def allow(*actions, principal=f"arn:aws:iam::{VENDOR}:root", **more):
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*", **more}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@once
def open_to_all():
    return key(Policy=document(allow("kms:*", principal="*")))


# Create and describe
made = once(lambda: new(Description="d", Tags=[{"TagKey": "a", "TagValue": "1"}]))
for member, value in {
    "KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT",
    "KeyState": "Enabled", "Enabled": True, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "MultiRegion": False,
    "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "Description": "d", "AWSAccountId": VENDOR,
}.items():
    says(f"CreateKey: {member} of a key that is told nothing", value, lambda: made().get(member))
says("CreateKey: the ARN names partition, region, account and key id",
     lambda found: found["Arn"] == f"arn:aws:kms:{WEST}:{VENDOR}:key/{found['KeyId']}", made)
says("CreateKey: a key id is a UUID", lambda found: [len(part) for part in found.split("-")] == [8, 4, 4, 4, 12],
     lambda: made()["KeyId"])
says("CreateKey: a symmetric key has a CurrentKeyMaterialId of 64 hexadecimal digits", 64,
     lambda: len(made()["CurrentKeyMaterialId"]))
says("CreateKey: no DeletionDate, no ValidTo, no ExpirationModel",
     [], lambda: [member for member in ("DeletionDate", "ValidTo", "ExpirationModel") if member in describe(made()["Arn"])])
says("CreateKey: tags are there", [{"TagKey": "a", "TagValue": "1"}],
     lambda: kms.list_resource_tags(KeyId=made()["Arn"])["Tags"])
says("DescribeKey answers what CreateKey did", True, lambda: describe(made()["KeyId"]) == made())
SPECS = {
    "RSA_2048": ("SIGN_VERIFY", "SigningAlgorithms", 6), "RSA_3072": ("ENCRYPT_DECRYPT", "EncryptionAlgorithms", 2),
    "ECC_NIST_P256": ("SIGN_VERIFY", "SigningAlgorithms", 1), "ECC_NIST_P384": ("KEY_AGREEMENT", "KeyAgreementAlgorithms", 1),
    "ECC_NIST_P521": ("SIGN_VERIFY", "SigningAlgorithms", 1), "ECC_SECG_P256K1": ("SIGN_VERIFY", "SigningAlgorithms", 1),
    "ECC_NIST_EDWARDS25519": ("SIGN_VERIFY", "SigningAlgorithms", 2), "ML_DSA_65": ("SIGN_VERIFY", "SigningAlgorithms", 1),
    "ML_KEM_768": ("ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", 1),
    "HMAC_224": ("GENERATE_VERIFY_MAC", "MacAlgorithms", 1), "HMAC_512": ("GENERATE_VERIFY_MAC", "MacAlgorithms", 1),
}
for spec, (usage, algorithms, count) in SPECS.items():
    says(f"CreateKey: {spec} for {usage}", (spec, usage, count),
         lambda: (lambda found: (found["KeySpec"], found["KeyUsage"], len(found[algorithms])))(new(KeySpec=spec, KeyUsage=usage)))
says("CreateKey: an asymmetric key without KeyUsage", refused("ValidationException"), lambda: new(KeySpec="RSA_2048"))
says("CreateKey: an HMAC key without KeyUsage", refused("ValidationException"), lambda: new(KeySpec="HMAC_256"))
says("CreateKey: a usage that the spec does not have", refused("ValidationException"),
     lambda: new(KeySpec="ECC_NIST_P256", KeyUsage="ENCRYPT_DECRYPT"))
says("CreateKey: SIGN_VERIFY with the default spec", refused("ValidationException"), lambda: new(KeyUsage="SIGN_VERIFY"))
says("CreateKey: an unknown spec", refused("ValidationException", 400, "keySpec"), lambda: new(KeySpec="AES_512"))
says("CreateKey: SM2 outside China", refused("UnsupportedOperationException"),
     lambda: new(KeySpec="SM2", KeyUsage="SIGN_VERIFY"))
says("CreateKey: a custom key store that is not there", refused("CustomKeyStoreNotFoundException"),
     lambda: new(Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-1234567890abcdef0"))
says("CreateKey: an external key's id without an external key store", refused("ValidationException"), lambda: new(XksKeyId="x"))
says("DescribeCustomKeyStores", [], lambda: kms.describe_custom_key_stores()["CustomKeyStores"])
says("DeleteCustomKeyStore: one that is not there", refused("CustomKeyStoreNotFoundException"), lambda: kms.delete_custom_key_store(CustomKeyStoreId="cks-1234567890abcdef0"))
says("CreateKey: the same tag twice", refused("TagException"),
     lambda: new(Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]))
says("CreateKey: a tag that AWS keeps for itself", refused("TagException"),
     lambda: new(Tags=[{"TagKey": "aws:a", "TagValue": "1"}]))
says("CreateKey: a description of 8193 characters", refused("ValidationException"), lambda: new(Description="x" * 8193))
says("CreateKey: MultiRegion key ids begin with mrk- and 32 hexadecimal digits follow", True,
     lambda: (lambda found: found.startswith("mrk-") and len(found) == 36)(new(MultiRegion=True)["KeyId"]))
says("CreateKey: a multi-Region key is its own primary", ("PRIMARY", []),
     lambda: (lambda found: (found["MultiRegionKeyType"], found["ReplicaKeys"]))(new(MultiRegion=True)["MultiRegionConfiguration"]))
says("CreateKey: EXTERNAL keys wait for their material", ("PendingImport", False, "EXTERNAL"),
     lambda: (lambda found: (found["KeyState"], found["Enabled"], found["Origin"]))(describe(empty())))
says("CreateKey: an EXTERNAL key has no CurrentKeyMaterialId yet", False, lambda: "CurrentKeyMaterialId" in describe(empty()))
says("CreateKey: a policy that is no JSON", refused("MalformedPolicyDocumentException"), lambda: new(Policy="{"))
says("CreateKey: a policy that locks its caller out", refused("MalformedPolicyDocumentException"),
     lambda: new(Policy=document(allow("kms:Encrypt"))))
says("CreateKey: the same with BypassPolicyLockoutSafetyCheck", "Enabled",
     lambda: new(Policy=document(allow("kms:Describe*")), BypassPolicyLockoutSafetyCheck=True)["KeyState"])
# Naming a key
says("DescribeKey: an ARN of another region", refused("NotFoundException", 400, f"Invalid arn {WEST}"), lambda: describe(plain(), east))
says("DescribeKey: a key id of another region", refused("NotFoundException", 400, "does not exist"),
     lambda: describe(plain().split("/")[1], east))
says("DescribeKey: an ARN of nothing", refused("NotFoundException"),
     lambda: describe(f"arn:aws:kms:{WEST}:{VENDOR}:key/12345678-1234-1234-1234-123456789012"))
says("DescribeKey: no key id at all", refused("NotFoundException", 400, "Invalid keyId"), lambda: describe("key"))
says("DescribeKey: an alias that is not there", refused("NotFoundException", 400, "is not found"), lambda: describe("alias/none"))
says("DisableKey: an alias is no name for it", refused("NotFoundException"), lambda: kms.disable_key(KeyId="alias/none"))
says("EnableKey: an alias ARN is no key ARN", refused("InvalidArnException"),
     lambda: kms.enable_key(KeyId=f"arn:aws:kms:{WEST}:{VENDOR}:alias/none"))
says("DescribeKey: an empty KeyId", refused("ValidationException"), lambda: kms.describe_key(KeyId=""))
says("DescribeKey: a grant token that is none", refused("InvalidGrantTokenException"), lambda: kms.describe_key(KeyId=plain(), GrantTokens=["nonsense"]))
# States
says("DisableKey: state", ("Disabled", False), lambda: (state(disabled()), describe(disabled())["Enabled"]))
says("DisableKey: twice is as good as once", "Disabled", lambda: after(lambda: kms.disable_key(KeyId=disabled()), lambda: state(disabled())))
says("EnableKey: back again", "Enabled",
     lambda: (lambda arn: after(lambda: kms.disable_key(KeyId=arn), lambda: kms.enable_key(KeyId=arn), lambda: state(arn)))(key()))
USES = {
    "Encrypt": lambda arn: kms.encrypt(KeyId=arn, Plaintext=b"x"),
    "GenerateDataKey": lambda arn: kms.generate_data_key(KeyId=arn, KeySpec="AES_256"),
    "GenerateDataKeyWithoutPlaintext": lambda arn: kms.generate_data_key_without_plaintext(KeyId=arn, KeySpec="AES_256"),
    "GenerateDataKeyPair": lambda arn: kms.generate_data_key_pair(KeyId=arn, KeyPairSpec="ECC_NIST_P256"),
    "CreateGrant": lambda arn: kms.create_grant(KeyId=arn, GranteePrincipal=f"arn:aws:iam::{VENDOR}:root", Operations=["Encrypt"]),
    "EnableKeyRotation": lambda arn: kms.enable_key_rotation(KeyId=arn),
    "RotateKeyOnDemand": lambda arn: kms.rotate_key_on_demand(KeyId=arn),
}
for name, use in USES.items():
    says(f"{name} with a disabled key", refused("DisabledException", 400, "is disabled"), lambda: use(disabled()))
    says(f"{name} with a key pending deletion", refused("KMSInvalidStateException", 400, "is pending deletion"), lambda: use(leaving()))
for name in ("Encrypt", "GenerateDataKey", "CreateGrant"):
    says(f"{name} with a key pending import", refused("KMSInvalidStateException", 400, "is pending import"), lambda: USES[name](empty()))
says("EnableKey with a key pending import", refused("KMSInvalidStateException"), lambda: kms.enable_key(KeyId=empty()))
says("DisableKey with a key pending import", refused("KMSInvalidStateException"), lambda: kms.disable_key(KeyId=empty()))
for name, use in {
    "EnableKey": lambda arn: kms.enable_key(KeyId=arn), "DisableKey": lambda arn: kms.disable_key(KeyId=arn),
    "ScheduleKeyDeletion": lambda arn: kms.schedule_key_deletion(KeyId=arn),
    "UpdateKeyDescription": lambda arn: kms.update_key_description(KeyId=arn, Description="d"),
    "TagResource": lambda arn: kms.tag_resource(KeyId=arn, Tags=[{"TagKey": "a", "TagValue": "1"}]),
    "UntagResource": lambda arn: kms.untag_resource(KeyId=arn, TagKeys=["a"]),
    "CreateAlias": lambda arn: kms.create_alias(AliasName="alias/" + unique(), TargetKeyId=arn),
}.items():
    says(f"{name} with a key pending deletion", refused("KMSInvalidStateException", 400, "is pending deletion"), lambda: use(leaving()))
says("DescribeKey works in every state", ["Disabled", "PendingDeletion", "PendingImport"],
     lambda: [state(disabled()), state(leaving()), state(empty())])
says("GetKeyPolicy works with a key pending deletion", True, lambda: "Policy" in kms.get_key_policy(KeyId=leaving(), PolicyName="default"))
# Deletion
short = once(lambda: (lambda data: (data, kms.schedule_key_deletion(KeyId=data["Arn"])))(new()))
says("ScheduleKeyDeletion: 30 days unless told", (30, "PendingDeletion"),
     lambda: (short()[1]["PendingWindowInDays"], short()[1]["KeyState"]))
says("ScheduleKeyDeletion: the DeletionDate is as many days away", 30,
     lambda: (short()[1]["DeletionDate"] - short()[0]["CreationDate"]).days)
for days in (6, 31):
    says(f"ScheduleKeyDeletion: {days} days", refused("ValidationException", 400, "pendingWindowInDays"),
         lambda: kms.schedule_key_deletion(KeyId=plain(), PendingWindowInDays=days))
says("ScheduleKeyDeletion: a key pending import can go", "PendingDeletion",
     lambda: kms.schedule_key_deletion(KeyId=key(Origin="EXTERNAL"))["KeyState"])
says("ScheduleKeyDeletion: DescribeKey has the DeletionDate", True, lambda: "DeletionDate" in describe(leaving()))
says("CancelKeyDeletion leaves the key disabled", "Disabled",
     lambda: (lambda arn: after(lambda: kms.schedule_key_deletion(KeyId=arn), lambda: kms.cancel_key_deletion(KeyId=arn), lambda: state(arn)))(key()))
says("CancelKeyDeletion of a key that is not leaving", refused("KMSInvalidStateException", 400, "is not pending deletion"),
     lambda: kms.cancel_key_deletion(KeyId=plain()))
# Description
says("UpdateKeyDescription", "new", lambda: after(lambda: kms.update_key_description(KeyId=plain(), Description="new"), lambda: describe(plain())["Description"]))
# Aliases
alias = once(lambda: (lambda name: after(lambda: kms.create_alias(AliasName=name, TargetKeyId=plain()), lambda: name))("alias/" + unique()))
says("CreateAlias: DescribeKey finds the key by it", True, lambda: describe(alias())["Arn"] == plain())
says("CreateAlias: by its ARN too", True, lambda: describe(f"arn:aws:kms:{WEST}:{VENDOR}:{alias()}")["Arn"] == plain())
says("CreateAlias: a name that is taken", refused("AlreadyExistsException"), lambda: kms.create_alias(AliasName=alias(), TargetKeyId=disabled()))
says("CreateAlias: alias/aws/ is AWS's", refused("NotAuthorizedException"), lambda: kms.create_alias(AliasName="alias/aws/mine", TargetKeyId=plain()))
says("CreateAlias: a name without alias/", refused("ValidationException", 400, "Invalid identifier"), lambda: kms.create_alias(AliasName="mine", TargetKeyId=plain()))
says("CreateAlias: a forbidden character", refused("ValidationException"), lambda: kms.create_alias(AliasName="alias/a b", TargetKeyId=plain()))
says("CreateAlias: a colon in a name", refused("ValidationException", 400, "contains invalid characters for an alias"), lambda: kms.create_alias(AliasName="alias/a:b", TargetKeyId=plain()))
says("DeleteAlias: a name without alias/", refused("ValidationException", 400, "Invalid identifier"), lambda: kms.delete_alias(AliasName="mine"))
says("CreateAlias: of an alias", refused("ValidationException"), lambda: kms.create_alias(AliasName="alias/" + unique(), TargetKeyId=alias()))
says("CreateAlias: of a key that is not there", refused("NotFoundException"),
     lambda: kms.create_alias(AliasName="alias/" + unique(), TargetKeyId="12345678-1234-1234-1234-123456789012"))
says("ListAliases: of one key", True, lambda: [entry["AliasName"] for entry in kms.list_aliases(KeyId=plain())["Aliases"]] == [alias()])
says("ListAliases: members", True,
     lambda: {"AliasArn", "AliasName", "CreationDate", "LastUpdatedDate", "TargetKeyId"} <= set(kms.list_aliases(KeyId=plain())["Aliases"][0]))
says("CreateAlias: the 51st of a key", refused("LimitExceededException"), lambda: (lambda arn: [kms.create_alias(AliasName="alias/" + unique(), TargetKeyId=arn) for _ in range(51)])(key()))
says("UpdateAlias moves it", True,
     lambda: (lambda name, to: after(lambda: kms.create_alias(AliasName=name, TargetKeyId=plain()), lambda: kms.update_alias(AliasName=name, TargetKeyId=to), lambda: describe(name)["Arn"] == to))("alias/" + unique(), key()))
says("UpdateAlias of an alias that is not there", refused("NotFoundException"), lambda: kms.update_alias(AliasName="alias/none", TargetKeyId=plain()))
says("DeleteAlias of an alias that is not there", refused("NotFoundException"), lambda: kms.delete_alias(AliasName="alias/none"))
says("DescribeKey: alias/aws/rds makes the AWS managed key", ("AWS", "Enabled"),
     lambda: (lambda found: (found["KeyManager"], found["KeyState"]))(describe("alias/aws/rds")))
says("DescribeKey: so does alias/aws/ebs", "AWS", lambda: describe("alias/aws/ebs")["KeyManager"])
fresh = client("kms", "eu-north-1")
predefined = lambda: {entry["AliasName"]: entry for entry in fresh.list_aliases()["Aliases"]}
says("ListAliases: alias/aws/rds is there before its first use, without a key", ("alias/aws/rds", False),
     lambda: (lambda found: (found["AliasName"], "TargetKeyId" in found))(predefined()["alias/aws/rds"]))
says("ListAliases: with its key once it is described", True, lambda: (lambda made: predefined()["alias/aws/rds"]["TargetKeyId"] == made)(fresh.describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["KeyId"]))
says("ListAliases: the pages hold every predefined one once", True, lambda: (lambda found: len(found) == len(set(found)) and "alias/aws/ebs" in found)(
    [entry["AliasName"] for page in fresh.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 3}) for entry in page["Aliases"]]))
says("ScheduleKeyDeletion of an AWS managed key", refused("AccessDeniedException"),
     lambda: kms.schedule_key_deletion(KeyId=describe("alias/aws/rds")["Arn"]))
says("GetKeyRotationStatus: an AWS managed key rotates every year", (True, 365),
     lambda: (lambda found: (found["KeyRotationEnabled"], found["RotationPeriodInDays"]))(kms.get_key_rotation_status(KeyId=describe("alias/aws/rds")["Arn"])))
# Lists
two = once(lambda: [key(), key()])
says("ListKeys: Limit, Truncated and NextMarker", (1, True, True), lambda: (lambda found: (len(found["Keys"]), found["Truncated"], "NextMarker" in found))(after(two, lambda: kms.list_keys(Limit=1))))
says("ListKeys: the pages hold every key once", True,
     lambda: (lambda found: len(found) == len(set(found)) and set(two()) <= set(found))([entry["KeyArn"] for page in kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3}) for entry in page["Keys"]]))
says("ListKeys: Limit 0", refused("ValidationException"), lambda: kms.list_keys(Limit=0))
says("ListKeys: Limit 1001", refused("ValidationException"), lambda: kms.list_keys(Limit=1001))
says("ListKeys: a marker that is none", refused("InvalidMarkerException"), lambda: kms.list_keys(Marker="nonsense"))
says("ListKeyPolicies", (["default"], False), lambda: (lambda found: (found["PolicyNames"], found["Truncated"]))(kms.list_key_policies(KeyId=plain())))
# Tags
tagged = once(lambda: (lambda arn: after(lambda: kms.tag_resource(KeyId=arn, Tags=[{"TagKey": f"t{n}", "TagValue": "v"} for n in range(50)]), lambda: arn))(key()))
says("CreateKey: 51 tags", refused("TagException", 400, "Too many tags"), lambda: kms.create_key(Tags=[{"TagKey": f"t{n}", "TagValue": "v"} for n in range(51)]))
says("TagResource: the 51st tag", refused("TagException", 400, "Too many tags"), lambda: kms.tag_resource(KeyId=tagged(), Tags=[{"TagKey": "x", "TagValue": "v"}]))
says("ListResourceTags: pages", (20, True, 30, False), lambda: (lambda first: (lambda rest: (len(first["Tags"]), first["Truncated"], len(rest["Tags"]), rest["Truncated"]))(kms.list_resource_tags(KeyId=tagged(), Marker=first["NextMarker"])))(kms.list_resource_tags(KeyId=tagged(), Limit=20)))
says("TagResource: a key of 129 characters", refused("ValidationException"), lambda: kms.tag_resource(KeyId=plain(), Tags=[{"TagKey": "x" * 129, "TagValue": "v"}]))
says("UntagResource: what is not there is no error", 49, lambda: after(lambda: kms.untag_resource(KeyId=tagged(), TagKeys=["t0", "absent"]), lambda: len(kms.list_resource_tags(KeyId=tagged())["Tags"])))
# Policies' form
says("GetKeyPolicy: the default one", "Enable IAM User Permissions", lambda: json.loads(kms.get_key_policy(KeyId=plain(), PolicyName="default")["Policy"])["Statement"][0]["Sid"])
says("GetKeyPolicy: PolicyName is answered", "default", lambda: kms.get_key_policy(KeyId=plain())["PolicyName"])
says("GetKeyPolicy: another name", refused("NotFoundException"), lambda: kms.get_key_policy(KeyId=plain(), PolicyName="other"))
for name, text in {
    "without Statement": json.dumps({"Version": "2012-10-17"}),
    "of an unknown Version": json.dumps({"Version": "2020-01-01", "Statement": [allow("kms:*")]}),
    "without Principal": document({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}),
    "with a principal that is no ARN": document(allow("kms:*", principal="dave")),
    "with a pattern of roles as principal": document(allow("kms:*", principal=f"arn:aws:iam::{VENDOR}:role/app-*")),
    "with a pattern within a path": document(allow("kms:*", principal=f"arn:aws:iam::{VENDOR}:role/team/*/app")),
    "with a condition operator that is none": document(allow("kms:*", Condition={"AddressIs": {"aws:SourceIp": "10.0.0.0/8"}})),
    "with an unknown Effect": document({**allow("kms:*"), "Effect": "Maybe"}),
}.items():
    says(f"PutKeyPolicy: a policy {name}", refused("MalformedPolicyDocumentException"), lambda: kms.put_key_policy(KeyId=plain(), PolicyName="default", Policy=text))
says("PutKeyPolicy: larger than 32 KB", refused("LimitExceededException"), lambda: kms.put_key_policy(KeyId=plain(), Policy=document(*[allow("kms:*", Sid=f"s{n:032}") for n in range(300)])))
says("PutKeyPolicy: GetKeyPolicy answers it", True, lambda: (lambda text, arn: after(lambda: kms.put_key_policy(KeyId=arn, Policy=text), lambda: json.loads(kms.get_key_policy(KeyId=arn)["Policy"]) == json.loads(text)))(document(allow("kms:*", Sid="mine")), key()))
for name, use in {
    "GetKeyPolicy": lambda by, arn: by.get_key_policy(KeyId=arn), "PutKeyPolicy": lambda by, arn: by.put_key_policy(KeyId=arn, Policy=document(allow("kms:*"))),
    "DisableKey": lambda by, arn: by.disable_key(KeyId=arn), "ScheduleKeyDeletion": lambda by, arn: by.schedule_key_deletion(KeyId=arn),
    "ListResourceTags": lambda by, arn: by.list_resource_tags(KeyId=arn), "GetParametersForImport": lambda by, arn: by.get_parameters_for_import(KeyId=arn, WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048"),
    "ListKeyRotations": lambda by, arn: by.list_key_rotations(KeyId=arn), "GetKeyLastUsage": lambda by, arn: by.get_key_last_usage(KeyId=arn),
}.items():
    says(f"{name} is not for keys of other accounts", refused("AccessDeniedException"), lambda: use(customer(), open_to_all()))
