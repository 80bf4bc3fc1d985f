"""One agent's calls with the official OpenAI SDK: the only change against plain use is the TLS context."""

import argparse
import ssl
import sys
from pathlib import Path

from openai import APIStatusError, DefaultHttpxClient, OpenAI


def client_for(identity: Path, base_url: str) -> OpenAI:
    """Return an SDK client that presents the X.509-SVID in `identity`. No API key exists, so none is given."""
    tls = ssl.create_default_context(cafile=str(identity / "bundle.pem"))
    tls.load_cert_chain(identity / "svid.pem", identity / "svid.key")
    return OpenAI(
        base_url=base_url, api_key="none", http_client=DefaultHttpxClient(verify=tls, trust_env=False), max_retries=0
    )


def main() -> int:
    """Call one model, streamed; exit status 3 says that the gateway refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identity", type=Path, required=True, help="directory written by 'govctl agent issue'")
    parser.add_argument("--base-url", default="https://localhost:8443/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--max-tokens", type=int, default=60)
    parser.add_argument("question")
    arguments = parser.parse_args()
    client = client_for(arguments.identity, arguments.base_url)
    try:
        stream = client.chat.completions.create(
            model=arguments.model,
            messages=[{"role": "user", "content": arguments.question}],
            max_tokens=arguments.max_tokens,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in stream:
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
            if chunk.usage is not None:
                print(f"\n[usage: {chunk.usage.prompt_tokens} tokens in, {chunk.usage.completion_tokens} tokens out]")
    except APIStatusError as error:
        print(f"{type(error).__name__} ({error.status_code}, code {error.code}): {error.message}")
        print(f"request id: {error.request_id}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
