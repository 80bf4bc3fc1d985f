"""The example model server with the official SDK: honest, countable, cancellable."""

import time
from collections.abc import Iterator

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

QUESTION = [{"role": "user", "content": "Are you a model?"}]


@pytest.fixture
def sdk(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_it_says_that_it_is_not_a_model(sdk):
    answer = sdk.chat.completions.create(model="m", messages=QUESTION)
    assert "not a model" in answer.choices[0].message.content


def test_one_word_is_one_token_and_max_tokens_is_honoured(sdk):
    answer = sdk.chat.completions.create(model="m", messages=QUESTION, max_tokens=5)
    assert len(answer.choices[0].message.content.split()) == answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens == 4
    assert answer.usage.total_tokens == 9
    assert answer.choices[0].finish_reason == "length"


def test_a_stream_carries_the_same_text_word_by_word(sdk):
    whole = sdk.chat.completions.create(model="m", messages=QUESTION, max_tokens=9)
    chunks = list(sdk.chat.completions.create(model="m", messages=QUESTION, max_tokens=9, stream=True))
    assert "".join(c.choices[0].delta.content for c in chunks) == whole.choices[0].message.content
    assert len(chunks) == 1 + 9
    assert all(c.usage is None for c in chunks)
    assert chunks[-1].choices[0].finish_reason == "length"


def test_usage_comes_last_when_asked_for(sdk):
    *others, last = sdk.chat.completions.create(
        model="m", messages=QUESTION, max_tokens=6, n=2, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (4, 12)
    assert {c.choices[0].index for c in others} == {0, 1}


def test_continuous_usage_counts_up(sdk):
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(
        sdk.chat.completions.create(model="m", messages=QUESTION, max_tokens=3, stream=True, stream_options=options)
    )
    assert [c.usage.completion_tokens for c in chunks] == [0, 1, 2, 3, 3]


def test_an_endless_answer_ends_at_the_limit(sdk):
    answer = sdk.chat.completions.create(model="m", messages=QUESTION, max_tokens=500, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 500


def test_completions_answer_each_prompt(sdk):
    answer = sdk.completions.create(model="m", prompt=["one two", "three"], max_tokens=4)
    assert len(answer.choices) == 2
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 8)
    streamed = list(sdk.completions.create(model="m", prompt="one", max_tokens=4, stream=True))
    assert "".join(c.choices[0].text for c in streamed) == answer.choices[0].text


def test_embeddings_depend_on_the_text_alone(sdk):
    answer = sdk.embeddings.create(model="m", input=["a b", "c", "a b"], dimensions=4)
    first, second, third = (entry.embedding for entry in answer.data)
    assert first == third != second
    assert len(first) == 4
    assert answer.usage.prompt_tokens == 5
    plain = sdk.embeddings.create(model="m", input="a b", dimensions=4, encoding_format="float")
    assert plain.data[0].embedding == first


def test_responses_answer_and_stream(sdk):
    whole = sdk.responses.create(model="m", input="Are you a model?", max_output_tokens=5)
    assert whole.status == "incomplete"
    assert whole.usage.output_tokens == 5
    with sdk.responses.stream(model="m", input="Are you a model?", max_output_tokens=100) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "not a model" in final.output_text
    assert final.usage.output_tokens == kinds.count("response.output_text.delta")


def test_models_are_listed_and_other_routes_are_not_there(sdk):
    assert [model.id for model in sdk.models.list()] == ["example-chat"]
    with pytest.raises(NotFoundError):
        sdk.files.list()


def test_a_body_that_is_not_json_is_refused(url):
    answer = httpx.post(url + "/v1/chat/completions", content=b"{", trust_env=False)
    assert answer.status_code == 400
    assert BadRequestError.status_code == answer.status_code


def test_a_caller_that_leaves_ends_its_call(slow_url):
    body = {"model": "m", "messages": QUESTION, "stream": True, "max_tokens": 1000, "ignore_eos": True}
    with httpx.Client(base_url=slow_url, trust_env=False) as client:
        with httpx.stream("POST", slow_url + "/v1/chat/completions", json=body, trust_env=False) as answer:
            words = answer.iter_bytes()
            next(words)
            assert client.get("/stats").json()["running"] == 1
        deadline = time.monotonic() + 5
        while (stats := client.get("/stats").json())["running"] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert stats == {"running": 0, "served": 0, "cancelled": 1}


def test_the_delay_is_visible(slow_url):
    began = time.monotonic()
    body = {"model": "m", "messages": QUESTION, "max_tokens": 10}
    httpx.post(slow_url + "/v1/chat/completions", json=body, trust_env=False)
    assert time.monotonic() - began >= 0.2
