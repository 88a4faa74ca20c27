"""Asks LiveKit's Python server SDK what it thinks of tokens.

stdin:  a JSON array of {"apiKey", "apiSecret", "token"}
stdout: a JSON array, same order, of {"ok": true, "claims"} or {"ok": false, "error"} with the name of the error's
        class. This SDK keeps the grants and drops the registered claims: "identity" is the token's "sub", and "iss",
        "exp", "nbf" and "iat" are checked but not handed out. "sip", "inference" and "observability" are always there,
        all false for a token that has none.
"""

import json
import sys
import warnings

from livekit.api import TokenVerifier

# LiveKit's own development secret is shorter than the JWT library likes; the warning would only litter test output.
warnings.simplefilter("ignore")


def verdict(case):
    try:
        claims = TokenVerifier(case["apiKey"], case["apiSecret"]).verify(case["token"])
        return {"ok": True, "claims": claims.asdict()}
    except Exception as error:  # whatever class it is, is the answer
        return {"ok": False, "error": type(error).__name__}


json.dump([verdict(case) for case in json.load(sys.stdin)], sys.stdout)
