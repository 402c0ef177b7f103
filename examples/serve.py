"""A recommendation server for a checkpoint: known users are looked up, new ones are folded in without training.

pip install -r examples/requirements.txt
python examples/serve.py saved/MODEL.pth
curl 'localhost:8000/recommend?user=196&k=5'
curl 'localhost:8000/recommend?user=196&candidates=50&candidates=172&exclude=181'
curl 'localhost:8000/recommend?k=5' -d '{"50": 5, "172": 5, "288": 1}'

localhost:8000/docs describes every endpoint. The server listens on this machine only: put a reverse proxy with TLS and
authentication in front of it.
"""

import argparse
import asyncio
import gc
import json
import sys
import warnings
from typing import Annotated

import h11
import torch
import uvicorn
from fastapi import Body, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.h11_impl import H11Protocol

from recbole_autorec import AutoRecError, Predictor
from recbole_autorec.errors import DataError

SECONDS = 5.0  # for the head of a request, and again for its body
BODY_BYTES = 1 << 18
HEAD_BYTES = 1 << 14
LONGEST_LIST = 1000


class Recommendation(BaseModel):
    item: str
    rating: float
    title: str | None = None


class NewUsersRecommendations(BaseModel):
    items: list[Recommendation]
    left_out: list[str]


class SimilarItem(BaseModel):
    item: str
    similarity: float
    title: str | None = None


class Prediction(BaseModel):
    rating: float
    note: str


class Health(BaseModel):
    model: str
    users: int
    items: int
    leaves_out_rated: bool


class Failure(BaseModel):
    error: str


Id = Annotated[str, Query(max_length=1000)]
Ids = Annotated[list[Annotated[str, Field(max_length=1000)]] | None, Query(max_length=LONGEST_LIST)]
Length = Annotated[int, Query(ge=1, le=LONGEST_LIST)]


def failure(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": why}, status, headers)


def app_for(predictor: Predictor) -> FastAPI:
    known = {status: {"model": Failure} for status in (400, 404, 408, 413, 422)}
    app = FastAPI(title="recbole_autorec", responses=known, redirect_slashes=False)

    @app.get("/health")
    async def health() -> Health:
        return Health(
            model=predictor.name,
            users=len(predictor.users),
            items=len(predictor.items),
            leaves_out_rated=predictor.knows_ratings,
        )

    @app.get("/recommend", response_model=list[Recommendation])
    async def recommend(user: Id, k: Length = 10, candidates: Ids = None, exclude: Ids = None) -> Response:
        """Return the best items that a known user has not rated; a model exported without ratings includes rated ones.

        Ranks only `candidates`, if given, and leaves out those to `exclude`.
        """
        return JSONResponse(predictor.best_items(user, k, candidates, exclude))

    @app.post("/recommend", response_model=NewUsersRecommendations)
    def recommend_to_new_user(
        ratings: Annotated[dict[str, float], Body(min_length=1, max_length=5000)],
        k: Length = 10,
        candidates: Ids = None,
        exclude: Ids = None,
    ) -> Response:
        """Return the best items for a new user from ratings, item -> stars. Items not in training are left out."""
        new = predictor.fold_in_user(ratings)
        best = new.recommend(k, candidates, exclude)
        answer = {"items": json.loads(best.to_json(orient="records")), "left_out": new.left_out}
        return Response(json.dumps(answer), media_type="application/json")  # ASCII: an id may have a lone surrogate

    @app.get("/predict")
    async def predict(user: Id, item: Id) -> Prediction:
        """Predict a rating in stars; the note says what the prediction lacks."""
        stars, notes = predictor.predict_with_notes(user, item)
        return Prediction(rating=float(stars[0]), note=notes[0])

    @app.get("/similar", response_model=list[SimilarItem])
    async def similar(item: Id, k: Length = 10) -> Response:
        """Return the items most similar to one."""
        return table(predictor.similar_items(item, k))

    @app.exception_handler(DataError)
    async def unknown(_, error: DataError) -> Response:
        return failure(404 if str(error).endswith(" is unknown: no such id in the training data.") else 422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_, error: RequestValidationError) -> Response:
        faults = [f"{' '.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:10]]
        return failure(422, "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def refused(_, error: HTTPException) -> Response:
        return failure(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def broken(_, error: Exception) -> Response:
        return failure(500, "internal error; see the server's log")

    app.add_middleware(WholeBody)
    return app


def table(best) -> Response:
    return Response(best.to_json(orient="records"), media_type="application/json")


class WholeBody:
    """Read a whole body before it is handled; refuse one that is too long or too slow."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        has_body = {b"content-length", b"transfer-encoding"} & {name for name, _ in scope.get("headers", ())}
        if scope["type"] != "http" or not has_body:
            await self.app(scope, receive, send)
            return
        closing = {"Connection": "close"}  # do not wait for the rest of the body
        try:
            body = await asyncio.wait_for(self.read(receive), SECONDS)
        except (TimeoutError, asyncio.TimeoutError):
            await failure(408, f"the body took longer than {SECONDS:g} s", closing)(scope, receive, send)
            return
        if body is None:
            await failure(413, f"the body has more than {BODY_BYTES} bytes", closing)(scope, receive, send)
            return
        message = {"type": "http.request", "body": body, "more_body": False}
        kept = [header for header in scope["headers"] if header[0] != b"content-type"]
        scope["headers"] = [*kept, (b"content-type", b"application/json")]  # curl -d declares a form

        async def replay():
            nonlocal message
            given, message = message, None
            return given or await receive()

        await self.app(scope, replay, send)

    async def read(self, receive) -> bytes | None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > BODY_BYTES:
                return None
        return body


class Impatient(H11Protocol):
    """uvicorn's protocol with timeouts for slow clients, and JSON answers to invalid requests."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._deadline = None
        self._wait()

    def data_received(self, data):
        super().data_received(data)
        if self._is_answering():
            self._deadline.cancel()

    def on_response_complete(self):
        super().on_response_complete()
        if not self._is_answering():  # otherwise the next pipelined request is being answered
            self._wait()

    def pause_writing(self):
        super().pause_writing()
        self._wait()  # for a client that does not read

    def resume_writing(self):
        super().resume_writing()
        self._deadline.cancel()

    def connection_lost(self, exc):
        self._deadline.cancel()
        super().connection_lost(exc)

    def _is_answering(self):
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self):
        """Give the client SECONDS to go on."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(SECONDS, self.transport.abort)

    def send_400_response(self, msg):
        body = failure(400, msg).body
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        try:
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        except h11.LocalProtocolError:  # in the middle of another answer
            pass
        self.transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a request is a small product; more threads would only wait for each other
    try:
        predictor = Predictor.load(options.checkpoint)
    except AutoRecError as error:
        sys.exit(f"error: {error}")
    warnings.simplefilter("ignore", UserWarning)  # the answer tells the client
    gc.freeze()  # loaded objects stay: the garbage collector skips them
    uvicorn.run(
        app_for(predictor), host="127.0.0.1", port=options.port, http=Impatient,
        h11_max_incomplete_event_size=HEAD_BYTES, access_log=False, server_header=False, timeout_graceful_shutdown=5,
    )  # fmt: skip


if __name__ == "__main__":
    main()
