"""Renewal over the control plane: who holds an X.509-SVID from attestation gets the next one for a key of its own."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.access import AccessControl, Caller
from gateway.errors import IdentityRefusedError, QuotaExceededError, RequestError, UnavailableError
from identity.attestation.base import SourceLimiter
from identity.bundle import TrustBundle
from identity.certificate_request import CertificateRequestError, parse_request
from identity.errors import IdentityError
from identity.remote_issuing import RemoteIssuer, RenewalRefusedError, handed_out

MAX_REQUEST_CHARACTERS = 16_384
"""Longest certificate request read (PEM)."""


class RenewalBody(BaseModel):
    """A certificate request (PEM) for the new key. A SPIFFE ID in it must be the caller's own."""

    model_config = ConfigDict(extra="forbid")

    csr: str = Field(max_length=MAX_REQUEST_CHARACTERS)


class RenewedSvid(BaseModel):
    """The new X.509-SVID (PEM, leaf first), and the trust bundle as it is now (SPIFFE bundle)."""

    spiffe_id: str
    chain: str
    bundle: dict[str, Any]


def renewal_routes(
    access: AccessControl, issuer: RemoteIssuer, bundle: Callable[[], TrustBundle], limiter: SourceLimiter
) -> APIRouter:
    """Return the route.

    Args:
        access: who may.
        issuer: signs and puts on record.
        bundle: the own bundle as it is now.
        limiter: bounds the renewals of each identity.
    """
    router = APIRouter(tags=["identity"])
    allowed = Depends(access.requires("identity.renew"))

    @router.post("/svid", summary="The caller's next X.509-SVID (identity.renew)")
    async def renew(body: RenewalBody, caller: Annotated[Caller, allowed]) -> RenewedSvid:
        wait = limiter.wait(caller.peer.id)
        if wait:
            raise QuotaExceededError(
                f"{caller.peer.id} renews its certificate too often.",
                remedy=f"Try again in {wait} seconds, and then at half the certificate's life.",
                code="renewal_rate",
            )
        chain = await _renewed(issuer, caller, body.csr)
        return RenewedSvid(spiffe_id=caller.peer.id, **handed_out(chain, bundle()))

    return router


async def _renewed(issuer: RemoteIssuer, caller: Caller, csr: str) -> Sequence[bytes]:
    try:
        return await issuer.renew(caller.peer.id, caller.peer.serial, parse_request(csr))
    except CertificateRequestError as error:
        raise RequestError(f"{error}.", code=error.rule) from error
    except RenewalRefusedError as error:
        raise IdentityRefusedError(
            f"{caller.peer.id} is not renewed: {error}.", remedy="Ask its owner.", code=error.rule
        ) from error
    except IdentityError as error:
        raise UnavailableError(str(error), code="not_issued") from error
