// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description A bar of the chart, as far as it has come; prices are null while no frame of it has any. */
        Bar: {
            c: number | null;
            /** @description finished: it will not change any more */
            closed: boolean;
            h: number | null;
            l: number | null;
            o: number | null;
            /** @description its start, UTC seconds, as in `format=columns` of a chart */
            t: number;
            v: number;
        };
        /**
         * @description Minutes of a chart's bars, or a session.
         * @enum {unknown}
         */
        BarSize: 1 | 2 | 3 | 5 | 10 | 13 | 15 | 26 | 30 | 39 | 60 | 120 | 180 | "session";
        /** @enum {unknown} */
        Command: "play" | "pause" | "seek" | "speed" | "fps" | "step" | "bar";
        /** @description A control; `ts`, `speed` and `fps` are older spellings of `pos` and `val`. `val` of `bar` is a BarSize or none. */
        Ctrl: {
            cmd: components["schemas"]["Command"];
            fps?: number;
            pos?: string | number;
            speed?: number;
            /** @constant */
            t: "ctrl";
            ts?: string | number;
            val?: number | ("session" | "none");
        };
        /** @description A control was accepted: the control itself, and `echo`. */
        Echo: {
            cmd: components["schemas"]["Command"];
            /** @constant */
            echo: true;
            /** @constant */
            t: "ctrl";
        };
        /** @description Once, after the last frame of a run that is over. */
        End: {
            /** @constant */
            t: "end";
        };
        Equity: {
            ts: string;
            value: number;
        };
        /** @description A refused control, or why a close follows. */
        Err: {
            /** @enum {unknown} */
            code: "VALIDATION" | "RANGE" | "RUN_NOT_FOUND" | "UNAUTHORIZED" | "FORBIDDEN" | "STREAM_ERROR" | "TOO_LARGE" | "BUSY" | "INTERNAL";
            details?: Record<string, never>;
            msg: string;
            /** @constant */
            t: "err";
        };
        /** @description Once, when the whole run has been read, unless hello said so: how large it is. */
        Extent: {
            /** @description time of the first */
            from: string | null;
            /** @constant */
            t: "extent";
            /** @description time of the last */
            to: string | null;
            /** @description source frames */
            total: number;
        };
        /** @description `n` source frames up to index `seq`, merged; further fields are those of the last one. */
        Frame: {
            /** @description where asked for with `bar`: each bar that these frames touch, as it is after them; before it, closed now, the bar that nobody knew to be finished */
            bars?: components["schemas"]["Bar"][];
            /** @description frames that a slow connection has been spared */
            dropped: number;
            equity: components["schemas"]["Equity"] | null;
            /** @description source frames covered */
            n: number;
            ohlc: components["schemas"]["Ohlc"] | null;
            orders: Record<string, never>[];
            /** @description with `bars`: the highest equity of the run up to `seq`, and when it was first had */
            peak?: components["schemas"]["Equity"] | null;
            /** @description index of the last of them */
            seq: number;
            /** @constant */
            t: "frame";
            /** @description start of the last frame covered, ISO 8601, UTC */
            ts: string;
        };
        Heartbeat: {
            /** @constant */
            t: "hb";
        };
        /** @description First: what is played, where the viewer stands, how fast it goes. */
        Hello: {
            bar?: components["schemas"]["BarSize"];
            /** @description names the reading of the run that `seq` counts in; null until a status tells it */
            epoch: string | null;
            fps: number;
            from: string | null;
            resumed?: boolean;
            /** @description the last frame that the viewer has; -1 for none */
            seq: number;
            speed: number;
            /** @constant */
            t: "hello";
            to: string | null;
            /** @description source frames; null until it is known */
            total: number | null;
        };
        Ohlc: {
            c: number;
            h: number;
            l: number;
            o: number;
            v: number;
        };
        /** @description Where asked for with `bar`, after hello and before the frame that follows a jump: what a viewer needs to be right from there on. */
        Position: {
            /** @description the bar of that frame, as far as it has come */
            bar: components["schemas"]["Bar"] | null;
            /** @description orders so far */
            orders: number;
            /** @description the highest equity so far */
            peak: components["schemas"]["Equity"] | null;
            /** @description all is meant after this frame; -1 before the first */
            seq: number;
            size: components["schemas"]["BarSize"];
            /** @constant */
            t: "position";
            /** @description the start of that frame */
            ts: string | null;
        };
        Ready: {
            /** @constant */
            t: "ready";
        };
        ReadyAck: {
            /** @constant */
            t: "ready_ack";
        };
        /** @description Why there are no frames, or that `seq` counts anew. */
        Status: {
            attempt?: number;
            epoch?: string;
            /** @description frames of the run that the backend sent in a form that nobody can read; they are missing */
            malformed?: number;
            /** @enum {unknown} */
            reason?: "changed" | "unknown" | "known";
            retry_ms?: number;
            /** @enum {unknown} */
            state: "waiting" | "reconnecting" | "live" | "epoch" | "draining";
            /** @constant */
            t: "status";
            ts?: string | null;
        };
        StreamMessage: components["schemas"]["Hello"] | components["schemas"]["Position"] | components["schemas"]["Frame"] | components["schemas"]["Extent"] | components["schemas"]["Status"] | components["schemas"]["Err"] | components["schemas"]["Echo"] | components["schemas"]["End"] | components["schemas"]["ReadyAck"] | components["schemas"]["Heartbeat"];
        ViewerMessage: components["schemas"]["Ctrl"] | components["schemas"]["Ready"] | components["schemas"]["Heartbeat"];
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
