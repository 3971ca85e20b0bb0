// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.
export interface paths {
    "/api/v1/flags": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Flags
         * @description Return all flags: as they are for a targeting key, and where that comes from.
         */
        get: operations["flags_api_v1_flags_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/flags/{key}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Put
         * @description Change a flag on every replica; it holds until the next change, restarts included.
         */
        put: operations["put_api_v1_flags__key__put"];
        post?: never;
        /**
         * Delete
         * @description Give a flag back to the file.
         */
        delete: operations["delete_api_v1_flags__key__delete"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/flags/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Changes
         * @description Stream an event `flags` at once and after each change; a comment now and then shows that it lives.
         */
        get: operations["changes_api_v1_flags_events_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ofrep/v1/evaluate/flags": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Bulk
         * @description Evaluate all flags; `If-None-Match` is answered with 304 where nothing changed.
         */
        post: operations["bulk_ofrep_v1_evaluate_flags_post"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ofrep/v1/evaluate/flags/{key}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Single
         * @description Evaluate one flag.
         */
        post: operations["single_ofrep_v1_evaluate_flags__key__post"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/ofrep/v1/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Changes
         * @description Stream a `refetchEvaluation` event after each change.
         */
        get: operations["changes_ofrep_v1_events_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * FlagList
         * @description All flags; `revision` changes whenever one of them, or the reason for it, does.
         */
        FlagList: {
            /** Flags */
            flags: components["schemas"]["FlagState"][];
            /** Revision */
            revision: string;
        };
        /**
         * FlagsEvent
         * @description The data of an event `flags`.
         */
        FlagsEvent: {
            /**
             * Keys
             * @description the flags that changed; all of them in the first event
             */
            keys: string[];
            /** Revision */
            revision: string;
        };
        /**
         * FlagState
         * @description One flag as it is for one targeting key, and where that comes from.
         */
        FlagState: {
            /**
             * Change Id
             * @description id of the change in effect, which an unconfirmed change names too
             */
            change_id?: string | null;
            /** Changed At */
            changed_at?: string | null;
            /**
             * Changed By
             * @description who made the change; only for whoever has the admin token
             */
            changed_by?: string | null;
            /**
             * Default
             * @description the default of the file
             */
            default: boolean;
            /** Description */
            description: string;
            /**
             * Evaluation
             * @description OpenFeature's reason: STATIC, DEFAULT, TARGETING_MATCH, SPLIT, DISABLED, ERROR
             */
            evaluation: string;
            /** Key */
            key: string;
            /**
             * Reason
             * @description why the flag is as it is, for people
             */
            reason: string;
            /**
             * Rollout
             * @description percentage of targeting keys that is on, where one is set
             */
            rollout: number | null;
            /**
             * Source
             * @enum {string}
             */
            source: "file" | "runtime" | "rollback";
            /**
             * Value
             * @description what the frontend should do; false where the flag is disabled
             */
            value: boolean;
            /** Variant */
            variant: string;
        };
        /** HTTPValidationError */
        HTTPValidationError: {
            /** Detail */
            detail?: components["schemas"]["ValidationError"][];
        };
        /** ValidationError */
        ValidationError: {
            /** Context */
            ctx?: Record<string, never>;
            /** Input */
            input?: unknown;
            /** Location */
            loc: (string | number)[];
            /** Message */
            msg: string;
            /** Error Type */
            type: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    flags_api_v1_flags_get: {
        parameters: {
            query?: {
                /** @description say who changed what, too; needs the admin token */
                details?: boolean;
                /** @description user or browser */
                targetingKey?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FlagList"];
                };
            };
            /** @description The admin token is missing or wrong */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description There is no such flag, or no admin token is configured */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Validation Error */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
            /** @description Too many wrong admin tokens; Retry-After says when to try again */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    put_api_v1_flags__key__put: {
        parameters: {
            query?: never;
            header?: {
                /** @description who asks for the change; shown and logged */
                "X-Changed-By"?: string;
            };
            path: {
                key: string;
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": {
                    /**
                     * Reason
                     * @description why, for people
                     */
                    reason: string;
                    /**
                     * Rollout
                     * @description percentage that is on
                     */
                    rollout?: number | null;
                    /**
                     * Value
                     * @description on or off for everybody
                     */
                    value?: boolean | null;
                };
            };
        };
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FlagState"];
                };
            };
            /** @description The admin token is missing or wrong */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description There is no such flag, or no admin token is configured */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The body is larger than 64 KiB */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Validation Error */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
            /** @description Too many wrong admin tokens; Retry-After says when to try again */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The change is not in effect and will not be, or (OUTCOME_UNKNOWN) Redis did not confirm it */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    delete_api_v1_flags__key__delete: {
        parameters: {
            query?: never;
            header?: {
                /** @description who asks for the change; shown and logged */
                "X-Changed-By"?: string;
            };
            path: {
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FlagState"];
                };
            };
            /** @description The admin token is missing or wrong */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description There is no such flag, or no admin token is configured */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The body is larger than 64 KiB */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Validation Error */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
            /** @description Too many wrong admin tokens; Retry-After says when to try again */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The change is not in effect and will not be, or (OUTCOME_UNKNOWN) Redis did not confirm it */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    changes_api_v1_flags_events_get: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["FlagsEvent"];
                    "text/event-stream": unknown;
                };
            };
        };
    };
    bulk_ofrep_v1_evaluate_flags_post: {
        parameters: {
            query?: {
                /** @description revision that an event named */
                flagConfigEtag?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description The body is no evaluation context */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The body is larger than 64 KiB */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Validation Error */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
        };
    };
    single_ofrep_v1_evaluate_flags__key__post: {
        parameters: {
            query?: {
                /** @description revision that an event named */
                flagConfigEtag?: string;
            };
            header?: never;
            path: {
                key: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description The body is no evaluation context */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description There is no such flag */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The body is larger than 64 KiB */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Validation Error */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
            /** @description The flag's rule cannot be evaluated */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
        };
    };
    changes_ofrep_v1_events_get: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Successful Response */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
        };
    };
}
