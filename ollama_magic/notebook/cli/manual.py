"""What the help says at length: a few sentences and an example for each word.

Knows how options and subcommands are used; their names and short texts stand in the
tables. ``%ollama help WORD`` and the pages in ``docs/`` are made from both.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """What is said of one word."""

    text: str
    """Plain sentences, paragraphs with an empty line between them."""
    example: str
    """Lines that can be typed."""


OPTIONS: dict[str, Entry] = {
    "--model": Entry(
        "The same as the first word of the line; it holds for this cell. Without it "
        "the model of %ollama use (or of Use in the panel) answers; else that of the "
        "chat's last turn, of the setting model, of OLLAMA_MODEL; else a local model "
        "that can chat: one in memory, then the newest. Embedding, decision, image "
        "and cloud models are never chosen for you. A name without a tag means the "
        "only tag that is installed. The footer says when another model answers than "
        "in the turn before. Given more than once it compares the models, as "
        "--compare does.",
        "%%ollama -m llama3.2\nWhy is the sky blue?",
    ),
    "--compare": Entry(
        "Each model answers in a column of its own, all at the same time. No turn "
        "is written until %ollama keep MODEL takes one of the replies. A name "
        "before << is bound to a Comparison: a reply for each model, and "
        "to_frame().",
        "%%ollama --compare llama3.2,qwen3:4b\n"
        "Explain recursion in two sentences.\n\n"
        "%ollama keep qwen3:4b",
    ),
    "--system": Entry(
        "Holds from this turn on, until another cell of the chat says another one. "
        'An empty text, "", takes it away. Where no cell says one, the setting '
        "system is used.",
        '%%ollama -s "You are a patient teacher."\nWhat is a monad?',
    ),
    "--chat": Entry(
        "A notebook has as many chats as you name; without a name cells go on with "
        "the one that %ollama chat chose, main at first. The option holds for this "
        "cell. A cell that is run again with another name moves its turn there.",
        "%%ollama -c ideas\nThree names for a cat.",
    ),
    "--new": Entry(
        "The turns before this one stay in the store and are not sent any more. "
        "%ollama undo takes it back; %ollama new does the same without a question.",
        "%%ollama --new\nAnother subject: what is entropy?",
    ),
    "--once": Entry(
        "Sent through POST /api/generate: no history goes along and no turn is "
        "written. With -T it goes through /api/chat, which alone takes functions.",
        "%%ollama -1\nTranslate to French: good morning",
    ),
    "--last": Entry(
        "For chats that are longer than what matters, or than the context: the "
        "turns before stay in the chat and are not sent this time. 0 sends none.",
        "%%ollama --last 2\nSum up what we just said.",
    ),
    "--append": Entry(
        "Without it, a cell that is run again replaces its own turn, in place. With"
        " it, each run adds a turn at the end.",
        "%%ollama --append\nAnother one, please.",
    ),
    "--temperature": Entry(
        "Short for -o temperature F. 0 chooses the likeliest word each time. Not "
        "sent unless you say it, so that the model's own default counts.",
        "%%ollama -t 0\nWhat is the capital of France?",
    ),
    "--seed": Entry(
        "Short for -o seed N. With the same model, messages and options it gives "
        "the same answer, as far as the hardware does.",
        "%%ollama --seed 42 -t 0.8\nWrite a limerick.",
    ),
    "--option": Entry(
        "Any model option that Ollama knows, by its own name: num_ctx, num_predict,"
        " top_p, stop and so on. A name that Ollama does not know is an error with "
        "the nearest one, since the server would ignore it without a word. stop may"
        " be given several times. Another num_ctx loads the model again.",
        "%%ollama -o num_ctx 8192 -o stop END\nGo on.",
    ),
    "--keep-alive": Entry(
        "How long the server keeps the model in memory after this answer: a "
        "duration (10m, 1h30m) or seconds; 0 unloads it at once, -1 keeps it until "
        "%ollama stop.",
        "%%ollama --keep-alive 1h\nHello.",
    ),
    "--think": Entry(
        "For models that can think. Some take a level, written with =. Thinking is "
        "folded above the answer with its seconds, stored, and not sent back. "
        "Without the option the model's own default counts; a model that cannot "
        "think is not asked to.",
        "%%ollama qwen3 --think\nHow many weighings find the odd coin of twelve?",
    ),
    "--no-think": Entry(
        "Asks the model to answer at once. What it writes between <think> tags all "
        "the same is still kept apart from the answer.",
        "%%ollama qwen3 --no-think\nHello.",
    ),
    "--hide-thinking": Entry(
        "The model thinks, and you see that it does, and not what. It is not in the"
        " output's metadata either; reply.thinking has it.",
        "%%ollama qwen3 --think --hide-thinking\nIs 391 a prime?",
    ),
    "--format": Entry(
        "markdown is rendered and sanitised. text is shown as it is. code shows the"
        " code blocks alone, or all of it where there are none. html shows the page"
        " that the reply is, with nothing left in it but what is harmless. json is "
        "highlighted, and the server is asked for JSON; reply.data has the value.",
        "%%ollama -f json\nThree colours as a JSON list of objects with name and hex.",
    ),
    "--schema": Entry(
        "Holds the reply to a structure. The short form is fields with commas "
        "between them, each NAME [TYPE] [: TEXT]; TYPE is str, int, float or bool; "
        "list of ... makes a list, one of a, b a choice; brackets around it all a "
        "list of rows. Or a JSON Schema, a file of one, or a name in the notebook: "
        "a dict, a dataclass, a TypedDict, a pydantic model.\n\n"
        "The reply is checked, and asked for once more when it does not follow the "
        "schema. reply.data is the value, reply.to_frame() a DataFrame of it.",
        '%%ollama people << --schema "[name, age int, mood: one of good, bad]"\n'
        "Ada (36) is happy, Bob (41) is not.",
    ),
    "--file": Entry(
        "Put before the prompt in a fence with its name. At most 50,000 characters "
        "of it are sent, and the footer says when it was cut.",
        "%%ollama -F notes.txt\nWhat is missing in these notes?",
    ),
    "--image": Entry(
        "For models with vision: a PNG, JPEG or WebP file, or a name in the "
        "notebook (with attributes and items, as in {{ }}) that is a PIL image, a "
        "matplotlib figure, an array of pixels, or bytes. {{ fig }} in the prompt "
        "does the same for images and figures. Later turns are sent it again, "
        "unless their model sees nothing.",
        "%%ollama llama3.2-vision -a fig\nWhat does this plot show?",
    ),
    "--tool": Entry(
        "The model is told the function's name, its types and its docstring, and "
        "may ask for it to be called. You are asked before each call: y, n, or "
        "always for this function and cell; with nobody to ask, calls are refused. "
        "Only what was named can be called. An error is told to the model; so is "
        "the result, which is shown folded. After tool_rounds rounds (a setting, 8)"
        " it has to answer.",
        "def get_weather(city: str) -> str:\n"
        '    """Get the weather of a city."""\n'
        "    return table[city]\n\n"
        "%%ollama qwen3 -T get_weather\n"
        "Do I need an umbrella in Oslo?",
    ),
    "--yes": Entry(
        "For functions that can do no harm, and for notebooks that run without you.",
        "%%ollama qwen3 -T get_weather --yes\nDo I need an umbrella in Oslo?",
    ),
    "--cached": Entry(
        "If this very request (messages, images, functions, options, format, and "
        "the model's digest where the server tells it) was answered before with "
        "this option, that answer is shown, and no server is needed; else the "
        "answer is kept for the next time. The output is the same to the letter. As"
        " a setting, %config OllamaMagics.cached = True, it makes Run All, "
        "nbconvert and CI give the same notebook with no server.",
        "%%ollama --cached -t 0\nName three primes.",
    ),
    "--extract": Entry(
        "The Python blocks of the reply are put into one new cell below, in order, "
        "for you to read and run; nothing is ever run for you. A cell that is run "
        "again adds no second one (with --append it does). Where no cell can be put"
        " below, the footer says to copy the code.",
        "%%ollama -x\nA function that tells whether a year is a leap year.",
    ),
    "--dry-run": Entry(
        "Shows the address and the whole body of the request, with an estimate of "
        "its tokens and whether it fits into the context. Nothing is sent; the "
        "server is only asked for its models, where one answers.",
        "%%ollama --dry-run\nWhat of {{ df }}?",
    ),
    "--no-stream": Entry(
        'Sends "stream": false: the server answers once the reply is complete.',
        "%%ollama --no-stream\nHello.",
    ),
    "--raw": Entry(
        "For prompts with double braces of their own: templates, for example.",
        "%%ollama --raw\nWhat does {{ user.name }} mean in Jinja?",
    ),
    "--host": Entry(
        "Written as in OLLAMA_HOST. The API key is not sent there: it belongs to "
        "the configured host.",
        "%%ollama --host http://gpu:11434\nHello.",
    ),
    "--quiet": Entry(
        "The line of model, turn, tokens and context is left out; notices stay.",
        "%%ollama -q\nHello.",
    ),
}
"""By long flag."""


COMMANDS: dict[str, Entry] = {
    "list": Entry(
        "The newest first, with size, capabilities and age. The result is an "
        "object: iterate it, index it, or make a pandas.DataFrame of it.",
        "%ollama list qwen\nmodels = %ollama list",
    ),
    "ps": Entry(
        "What is loaded, how much of it is on the GPU, with which context, until when.",
        "%ollama ps",
    ),
    "show": Entry(
        "Parameters, context length, capabilities, template, licence. page.details "
        "has the values of an assigned page.",
        "%ollama show llama3.2\n%ollama show llama3.2 --modelfile",
    ),
    "pull": Entry(
        "With progress over all layers. Interrupt to stop: what came is kept, and "
        "the next pull goes on there. Several names are pulled one after the other.",
        "%ollama pull qwen3:0.6b",
    ),
    "cp": Entry(
        "Gives a model a second name. What would be replaced is asked about first.",
        "%ollama cp llama3.2 mine",
    ),
    "rm": Entry(
        "Names what is deleted and the space that really goes, and asks. With "
        "nobody to ask and no -y nothing is deleted.",
        "%ollama rm old:7b older:7b",
    ),
    "load": Entry(
        "Loads a model now, so that the first answer need not wait.",
        "%ollama load llama3.2 --keep-alive 1h",
    ),
    "stop": Entry(
        "Frees the memory. An answer that is under way is finished first.",
        "%ollama stop llama3.2",
    ),
    "create": Entry(
        "From another model with a system message and options, from a Modelfile, or"
        " from a GGUF file, which is sent with progress; a file that is no model is "
        "not sent. A base model that is not "
        "there is an error: the server would fetch it unasked.",
        '%ollama create pirate --from llama3.2 -s "You are a pirate."\n'
        "%ollama create mine -F Modelfile",
    ),
    "push": Entry(
        "To the registry that its name says, with progress.",
        "%ollama push me/mine",
    ),
    "use": Entry(
        "Cells of this notebook that name no model ask this one from now on, also "
        "after a restart; so do ask, chat, stream, map_prompts, fix and explain. A "
        "model named on a cell holds for that cell alone.",
        "%ollama use llama3.2",
    ),
    "ask": Entry(
        "The rest of the line is the prompt, exactly as it was typed: quotes and "
        "question marks are text.",
        '%ollama ask what does "idempotent" mean?\n%ollama ask -t 0 2 + 2?',
    ),
    "run": Entry(
        "The first word is the model, the rest is the prompt, as in a shell. For a "
        "prompt of several lines: %%ollama MODEL with the lines under it.",
        "%ollama run llama3.2 Why is the sky blue?",
    ),
    "keep": Entry(
        "After --compare: the reply becomes the turn of the cell that compared. "
        "Keeping another one takes its place.",
        "%ollama keep qwen3:4b",
    ),
    "fix": Entry(
        "Sends the source of the failing cell, a trimmed traceback, and the types "
        "and shapes of the names on the failing line, never their values. A turn "
        "like any other: ask on in the next cell. With -x the corrected code is put"
        " into a cell below.",
        "%ollama fix\n%ollama fix 7 -x",
    ),
    "explain": Entry(
        "Without a range it is the cell that was run before this one. Ranges are "
        "those of IPython's history.",
        "%ollama explain\n%ollama explain 3-5",
    ),
    "panel": Entry(
        "Widgets to list, filter, pull, copy, delete, load and show models while "
        "cells run. In a terminal a table stands in.",
        "%ollama panel",
    ),
    "chats": Entry(
        "With their turns, last model and size; the current one is marked.",
        "%ollama chats",
    ),
    "chat": Entry(
        "Cells that name no chat go on with this one.",
        "%ollama chat ideas\n"
        "%ollama chat ideas --rename plans\n"
        "%ollama chat plans --delete",
    ),
    "new": Entry(
        "Leaves a mark: the turns before it are not sent any more.",
        "%ollama new",
    ),
    "history": Entry(
        "Numbers, prompts, replies, models and sizes. --all also shows turns that "
        "left the chat, and why.",
        "%ollama history\n%ollama history --all",
    ),
    "undo": Entry(
        "Whatever it was: a new turn, a replaced one, a drop, deleted cells, a "
        "fresh start.",
        "%ollama undo",
    ),
    "drop": Entry(
        "It stays in the store; %ollama undo brings it back.",
        "%ollama drop 3",
    ),
    "prune": Entry(
        "Replaced, dropped and undone turns, those of deleted cells, and sessions "
        "left a week ago; with --older-than also chats of other notebooks and "
        "answers kept by --cached that are as old. Asks first, and can't be undone.",
        "%ollama prune\n%ollama prune --older-than 90",
    ),
    "last": Entry(
        "--json shows the whole request and all that is known of the reply.",
        "%ollama last --json",
    ),
    "export": Entry(
        "All of them can be imported again. Nothing is overwritten without --force.",
        "%ollama export chat.md\n%ollama export chat.json",
    ),
    "import": Entry(
        "Makes a new chat and never mixes into one that has turns. Of a file only "
        "prompts and replies are sent to a model. System messages and tool results "
        "are kept and listed by %ollama history; --trust sends them too, also those "
        "of an earlier import. The model of a file is not used before %ollama use.",
        "%ollama import chat.json -c earlier\n%ollama import chat.json --trust",
    ),
    "restore": Entry(
        "For a notebook that came without its store: its outputs carry what is "
        "needed. What the chat has already stays; where texts differ yours stay "
        "without --force. Where cells or outputs show another text than their "
        "metadata, the text shown is taken and the cells are named. System messages "
        "and tool results are not sent without --trust, also after an earlier "
        "restore; the model is not used before %ollama use.",
        "%ollama restore\n%ollama restore --trust",
    ),
    "serve": Entry(
        "The server at OLLAMA_HOST if it answers; else the installed ollama "
        "program, started; else the embedded engine, which needs the extra "
        "embedded. What was started ends with the kernel, or with --stop.",
        "%ollama serve\n%ollama serve --stop",
    ),
    "doctor": Entry(
        "Server, proxies, memory, store, front end, packages. Holds no secret.",
        "%ollama doctor",
    ),
    "config": Entry(
        "With their values and meanings, and the environment that counts.",
        "%ollama config\n%config OllamaMagics.model = 'llama3.2'",
    ),
    "version": Entry(
        "Of this package and of the server that answers.",
        "%ollama version",
    ),
    "help": Entry(
        "A subcommand or an option of %%ollama. %ollama pull? does the same.",
        "%ollama help\n%ollama help pull\n%ollama help --schema",
    ),
}
"""By name."""
