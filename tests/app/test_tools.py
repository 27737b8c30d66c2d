"""The three tasks as tools over MCP, called as assistants call them: by the protocol's own client."""

import asyncio
import base64
import io
import re
import zipfile

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from tests.trust.studio import FREE, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("server"), FREE, "--offline", "--mcp") as one:
        yield one


def ask(server, *calls):
    """Call tools one after another in one session; the names of all tools come first."""

    async def heard(*progress):
        """Ask for progress, with which Gradio sends each file by itself."""

    async def session():
        async with (
            streamablehttp_client(f"{server.url}/gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as client,
        ):
            await client.initialize()
            tools = (await client.list_tools()).tools
            return [tools, *[await client.call_tool(*call, progress_callback=heard) for call in calls]]

    return asyncio.run(session())


def test_tools_are_listed_with_what_they_take(server):
    (tools,) = ask(server)
    assert {tool.name for tool in tools} == {"joint_generation", "depth_estimation", "depth_to_image"}
    made = next(tool for tool in tools if tool.name == "joint_generation")
    assert "picture and its depth" in made.description
    assert set(made.inputSchema["properties"]) == {"prompt", "seed", "steps", "guidance", "size"}
    assert made.inputSchema["properties"]["prompt"]["description"] == "What the picture shows."


def test_a_call_makes_files_that_can_be_fetched_and_a_picture_can_be_sent(server):
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 40, 40)).save(content, "PNG")
    picture = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
    _, made, depth = ask(
        server,
        ("joint_generation", {"prompt": "a red ball", "seed": 3, "steps": 1}),
        ("depth_estimation", {"image_path": picture, "seed": 3, "steps": 1}),
    )
    for answer, size in ((made, (256, 256)), (depth, (64, 48))):
        assert not answer.isError, answer.content
        images = [part for part in answer.content if part.type == "image"]
        with Image.open(io.BytesIO(base64.b64decode(images[0].data))) as image:
            assert image.size == size
        text = "\n".join(part.text for part in answer.content if part.type == "text")
        assert "'seed': 3" in text or '"seed": 3' in text, text
        archive = re.search(rf"{server.url}/gradio_api/file=[^'\s]*all\.zip", text)
        assert zipfile.is_zipfile(io.BytesIO(server.http.get(archive[0]).content))


def test_addresses_are_not_fetched_and_refusals_are_sentences(server):
    _, fetched, empty = ask(
        server,
        ("depth_estimation", {"image_path": "http://127.0.0.1:1/a.png", "seed": 1, "steps": 1}),
        ("joint_generation", {"prompt": "", "seed": 1, "steps": 1}),
    )
    assert fetched.isError and empty.isError
    assert "prompt" in empty.content[0].text and "Traceback" not in empty.content[0].text + fetched.content[0].text
