// A server of the JavaScript tool chain (componentize-js): a wasi:http component with SpiderMonkey in it.
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from "wasi:http/types@0.2.12";

const bytes = (text) => new TextEncoder().encode(text);

export const incomingHandler = {
  handle(request, out) {
    const response = new OutgoingResponse(Fields.fromList([["content-type", bytes("text/plain")]]));
    const body = response.body();
    ResponseOutparam.set(out, { tag: "ok", val: response });
    const stream = body.write();
    stream.blockingWriteAndFlush(bytes(`hello from JavaScript: ${request.pathWithQuery() ?? "/"}\n`));
    stream[Symbol.dispose]();
    OutgoingBody.finish(body, undefined);
  },
};
