// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.
export interface paths {
    "/api/v1/cache/chart-data": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Forget a symbol's bars
         * @description For every user and in every process. Needs the admin token; without one configured there is no such route. `everywhere` is false when the other processes could not be reached.
         */
        delete: operations["purge_chart_data"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/cache/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Forget a run for every user */
        delete: operations["purge_api_v1_cache_runs_delete"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/chart-data": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Bars of a symbol for a chart
         * @description Bars of a window, at most `target_points` of them: more are merged along trading sessions so that first open, highest high, lowest low, last close and summed volume stay exact.
         */
        get: operations["chart_data"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The list of runs */
        get: operations["list_runs_api_v1_runs_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/complete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** A run with its metrics, equity and orders */
        get: operations["complete_api_v1_runs__run_id__complete_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/status": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Where a run is */
        get: operations["status_api_v1_runs__run_id__status_get"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/runs/{run_id}/view": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Everything that a run's page shows, each part as soon as it is there
         * @description JSON objects, one a line: `head` first, then `chart` and `run` in the order in which they are ready; before a long `chart` of minutes a coarse one from hours, `chart_preview`. A body that ends before is broken off. What keeps the head from being had is the whole answer.
         */
        get: operations["run_view"];
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
         * CompleteRun
         * @description A run with its parts; null where `metadata.parts` says that one is not there.
         * @example {
         *       "equity": [
         *         {
         *           "drawdown": 0,
         *           "ts": "2025-01-02T14:30:00Z",
         *           "value": 100000
         *         }
         *       ],
         *       "metadata": {
         *         "backend_calls": 4,
         *         "cache_hit": false,
         *         "computed": [
         *           "sharpe_ratio",
         *           "equity.drawdown"
         *         ],
         *         "data_sources": [
         *           "run",
         *           "metrics",
         *           "equity"
         *         ],
         *         "equity_points": 1,
         *         "equity_source_points": 69030,
         *         "failed_sources": [
         *           "orders"
         *         ],
         *         "load_time_ms": 212.4,
         *         "partial_data": true,
         *         "parts": {
         *           "equity": {
         *             "age_ms": 12,
         *             "source": "backend",
         *             "state": "ok"
         *           },
         *           "metrics": {
         *             "age_ms": 190,
         *             "source": "backend",
         *             "state": "ok"
         *           },
         *           "orders": {
         *             "age_ms": 180,
         *             "error": {
         *               "code": "INTERNAL",
         *               "message": "internal error",
         *               "status": 500
         *             },
         *             "source": "backend",
         *             "state": "failed"
         *           },
         *           "run": {
         *             "age_ms": 210,
         *             "source": "backend",
         *             "state": "ok"
         *           }
         *         },
         *         "revision": "c5d94e5bbd56b9d5",
         *         "stale": false
         *       },
         *       "metrics": {
         *         "max_drawdown": 0.0081,
         *         "sharpe_ratio": -1.2,
         *         "total_return": -0.0036,
         *         "total_trades": 1203,
         *         "win_rate": 0.38
         *       },
         *       "run": {
         *         "created_at": "2025-09-27T06:40:25.874238+00:00",
         *         "dataset_id": "TSLA-2025-1m",
         *         "duration_ms": 1234,
         *         "params": {
         *           "fast": 20,
         *           "slow": 50
         *         },
         *         "run_from": "2025-01-01",
         *         "run_id": "05a0b0f6e429450f95d2598db225778b",
         *         "run_to": "2025-09-17",
         *         "seed": 42,
         *         "status": "DONE",
         *         "strategy_id": "sma_crossover",
         *         "symbol": "TSLA"
         *       }
         *     }
         */
        CompleteRun: {
            /** Equity */
            equity: components["schemas"]["Point"][] | components["schemas"]["PointColumns"] | null;
            metadata: components["schemas"]["Metadata"];
            metrics: components["schemas"]["RunMetrics"] | null;
            /** Orders */
            orders: components["schemas"]["Order"][] | {
                [key: string]: unknown[];
            } | null;
            run: components["schemas"]["Run"];
        };
        /** HTTPValidationError */
        HTTPValidationError: {
            /** Detail */
            detail?: components["schemas"]["ValidationError"][];
        };
        /**
         * ListedRun
         * @description A run of the list; `metrics_state` is that of a part, or `pending` while the metrics are on their way.
         */
        ListedRun: {
            /** Created At */
            created_at: string | null;
            /** Duration Ms */
            duration_ms: number | null;
            /**
             * Extra
             * @default {}
             */
            extra?: {
                [key: string]: unknown;
            };
            /** Metrics */
            metrics: {
                [key: string]: number;
            } | null;
            /**
             * Metrics State
             * @enum {string}
             */
            metrics_state: "ok" | "missing" | "failed" | "timeout" | "skipped" | "pending";
            /** Run From */
            run_from: string | null;
            /** Run Id */
            run_id: string | null;
            /** Run To */
            run_to: string | null;
            /** Status */
            status: string;
            /** Strategy Id */
            strategy_id: string | null;
            /** Symbol */
            symbol: string | null;
        };
        /**
         * ListMetadata
         * @description What it took, how many metrics were still on their way, and how many of the backend's items were no runs.
         */
        ListMetadata: {
            /** Backend Calls */
            backend_calls: number;
            /** Load Time Ms */
            load_time_ms: number;
            /** Metrics Pending */
            metrics_pending: number;
            /** Partial Data */
            partial_data: boolean;
            /**
             * Rejected
             * @default 0
             */
            rejected?: number;
            /** Stale */
            stale: boolean;
        };
        /**
         * Metadata
         * @description What an answer is and is not. `revision` names the state of the run that all of its parts belong to.
         *
         *     `partial_data` is true whenever a part that was asked for is not there; `failed_sources` names those of them that
         *     may be there the next time, not those that the backend says it does not have.
         */
        Metadata: {
            /** Backend Calls */
            backend_calls: number;
            /** Cache Hit */
            cache_hit: boolean;
            /** Computed */
            computed: string[];
            /** Data Sources */
            data_sources: string[];
            /** Equity Points */
            equity_points: number | null;
            /** Equity Source Points */
            equity_source_points: number | null;
            /** Failed Sources */
            failed_sources: string[];
            /** Load Time Ms */
            load_time_ms: number;
            /** Orders Count */
            orders_count: number | null;
            /** Partial Data */
            partial_data: boolean;
            /** Parts */
            parts: {
                [key: string]: components["schemas"]["PartReport"];
            };
            /** Revision */
            revision: string;
            /** Stale */
            stale: boolean;
        };
        /**
         * Order
         * @description An order; fields outside of the vocabulary stand under `extra`.
         */
        Order: {
            /** Commission */
            commission: number | null;
            /**
             * Extra
             * @default {}
             */
            extra?: {
                [key: string]: unknown;
            };
            /** Order Id */
            order_id: unknown;
            /** Order Type */
            order_type: string | null;
            /** Price */
            price: number | null;
            /** Quantity */
            quantity: number | null;
            /** Side */
            side: string | null;
            /** Status */
            status: string | null;
            /** Symbol */
            symbol: string | null;
            /** Ts */
            ts: string | null;
        };
        /**
         * PartReport
         * @description How a part fared: its age in milliseconds, where it came from, and the error if there is one.
         *
         *     Its source is `frames` where the backend has no route for it and the run's event stream was read.
         */
        PartReport: {
            /** Age Ms */
            age_ms: number | null;
            /** Error */
            error?: {
                [key: string]: unknown;
            } | null;
            /** Extra */
            extra?: {
                [key: string]: unknown;
            } | null;
            /** Rejected */
            rejected?: number | null;
            /** Source */
            source: ("backend" | "cache" | "frames") | null;
            state: components["schemas"]["State"];
        };
        /**
         * Point
         * @description Equity at a time (ISO 8601, UTC); drawdown is (peak - value) / peak.
         */
        Point: {
            /** Drawdown */
            drawdown: number | null;
            /**
             * Extra
             * @default {}
             */
            extra?: {
                [key: string]: unknown;
            };
            /** Ts */
            ts: string;
            /** Value */
            value: number;
        };
        /**
         * PointColumns
         * @description Equity by columns; `t` in UTC seconds, ascending.
         */
        PointColumns: {
            /** Drawdown */
            drawdown: (number | null)[];
            /** Extra */
            extra?: {
                [key: string]: unknown;
            }[] | null;
            /** T */
            t: number[];
            /** Value */
            value: number[];
        };
        /**
         * Purged
         * @description What was forgotten, and whether every process has heard of it.
         */
        Purged: {
            /** Everywhere */
            everywhere: boolean;
            /** Purged */
            purged: boolean;
            /** Run Id */
            run_id: string;
        };
        /**
         * Run
         * @description A run; `status` is QUEUED, RUNNING, DONE, ERROR or CANCELLED, or what the backend says in capitals.
         */
        Run: {
            /** Artifacts */
            artifacts: unknown;
            /** Code Hash */
            code_hash: string | null;
            /** Completed At */
            completed_at?: string | null;
            /** Created At */
            created_at: string | null;
            /** Dataset Id */
            dataset_id: string | null;
            /** Duration Ms */
            duration_ms: number | null;
            /** Error Message */
            error_message?: string | null;
            /**
             * Extra
             * @default {}
             */
            extra?: {
                [key: string]: unknown;
            };
            /** Manifest */
            manifest: unknown;
            /** Params */
            params: unknown;
            /** Run From */
            run_from: string | null;
            /** Run Id */
            run_id: string | null;
            /** Run To */
            run_to: string | null;
            /** Seed */
            seed: unknown;
            /** Slippage Fees */
            slippage_fees: unknown;
            /** Speed */
            speed: unknown;
            /** Started At */
            started_at?: string | null;
            /** Status */
            status: string;
            /** Strategy Id */
            strategy_id: string | null;
            /** Symbol */
            symbol: string | null;
        };
        /**
         * RunMetrics
         * @description Figures as shares (0.1 is ten percent); null where unknown or undefined.
         */
        RunMetrics: {
            /** Cagr */
            cagr: number | null;
            /** Max Drawdown */
            max_drawdown: number | null;
            /** Sharpe Ratio */
            sharpe_ratio: number | null;
            /** Sortino Ratio */
            sortino_ratio: number | null;
            /** Total Return */
            total_return: number | null;
            /** Total Trades */
            total_trades: number | null;
            /** Win Rate */
            win_rate: number | null;
        } & {
            [key: string]: unknown;
        };
        /**
         * RunPage
         * @description A page of the list of runs.
         * @example {
         *       "items": [
         *         {
         *           "created_at": "2025-09-27T06:40:25.874238+00:00",
         *           "duration_ms": 1234,
         *           "metrics": {
         *             "max_drawdown": 0.0081,
         *             "sharpe_ratio": -1.2,
         *             "total_return": -0.0036,
         *             "total_trades": 1203,
         *             "win_rate": 0.38
         *           },
         *           "metrics_state": "ok",
         *           "run_from": "2025-01-01",
         *           "run_id": "05a0b0f6e429450f95d2598db225778b",
         *           "run_to": "2025-09-17",
         *           "status": "DONE",
         *           "strategy_id": "sma_crossover",
         *           "symbol": "TSLA"
         *         }
         *       ],
         *       "limit": 20,
         *       "metadata": {
         *         "backend_calls": 1,
         *         "load_time_ms": 4.2,
         *         "metrics_pending": 0,
         *         "partial_data": false,
         *         "rejected": 0,
         *         "stale": false
         *       },
         *       "offset": 0,
         *       "total": 16
         *     }
         */
        RunPage: {
            /** Items */
            items: components["schemas"]["ListedRun"][];
            /** Limit */
            limit?: number | null;
            metadata: components["schemas"]["ListMetadata"];
            /** Offset */
            offset?: number | null;
            /** Total */
            total?: number | null;
        } & {
            [key: string]: unknown;
        };
        /**
         * RunStatus
         * @description Where a run is; `progress` is 0 to 1 as far as the backend says, 1 when done.
         * @example {
         *       "created_at": "2025-09-27T06:40:25.874238+00:00",
         *       "duration_ms": 1234,
         *       "finished": true,
         *       "progress": 1,
         *       "revision": "c5d94e5bbd56b9d5",
         *       "run_from": "2025-01-01",
         *       "run_id": "05a0b0f6e429450f95d2598db225778b",
         *       "run_to": "2025-09-17",
         *       "stale": false,
         *       "status": "DONE",
         *       "strategy_id": "sma_crossover",
         *       "symbol": "TSLA"
         *     }
         */
        RunStatus: {
            /** Completed At */
            completed_at?: string | null;
            /** Created At */
            created_at: string | null;
            /** Duration Ms */
            duration_ms: number | null;
            /** Error Message */
            error_message?: string | null;
            /** Finished */
            finished: boolean;
            /** Progress */
            progress: number | null;
            /** Revision */
            revision: string;
            /** Run From */
            run_from: string | null;
            /** Run Id */
            run_id: string | null;
            /** Run To */
            run_to: string | null;
            /** Stale */
            stale: boolean;
            /** Started At */
            started_at?: string | null;
            /** Status */
            status: string;
            /** Strategy Id */
            strategy_id: string | null;
            /** Symbol */
            symbol: string | null;
        };
        /**
         * State
         * @description How a part fared.
         * @enum {string}
         */
        State: "ok" | "missing" | "failed" | "timeout" | "skipped" | "stale";
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
    purge_chart_data: {
        parameters: {
            query: {
                /** @description what to forget */
                symbol: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Forgotten */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "everywhere": true,
                     *       "purged": true,
                     *       "symbol": "AAPL"
                     *     }
                     */
                    "application/json": {
                        everywhere: boolean;
                        purged: boolean;
                        symbol: string;
                    };
                };
            };
            /** @description No or another token */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4f1d…"
                     *         },
                     *         "message": "the admin token is required"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description Admin routes are off */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4f1d…"
                     *         },
                     *         "message": "no such resource"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description Bad, missing or contradictory fields, each named */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4f1d…",
                     *           "fields": {
                     *             "to_date": "before from_date"
                     *           }
                     *         },
                     *         "message": "invalid: to_date"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["HTTPValidationError"];
                };
            };
        };
    };
    purge_api_v1_cache_runs_delete: {
        parameters: {
            query: {
                run_id: string;
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
                    "application/json": components["schemas"]["Purged"];
                };
            };
            /** @description The client has it (If-None-Match) */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The backend's own answer, unchanged */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "who are you?"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend's own answer, unchanged */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "FORBIDDEN",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "not yours"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description No such run, or not the part that was required */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "RUN_NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "there is no run x"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description A parameter is not acceptable */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "invalid: equity_points"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description Too busy, or the backend failed too often; see Retry-After */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "too many requests"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend took too long */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
        };
    };
    chart_data: {
        parameters: {
            query: {
                /**
                 * @description how bars are spelled
                 * @example rows
                 */
                format?: "rows" | "columns" | "points" | "arrow";
                /**
                 * @description first UTC date or date-time; `from` is understood too
                 * @example 2024-01-02
                 */
                from_date: string;
                /**
                 * @description regular trading hours only
                 * @example true
                 */
                rth_only?: boolean;
                /**
                 * @description the backend's name of the instrument, trimmed; case counts
                 * @example AAPL
                 */
                symbol: string;
                /**
                 * @description most bars to answer; `target` is understood too
                 * @example 1000
                 */
                target_points?: number;
                /**
                 * @description what a bar covers
                 * @example 1H
                 */
                timeframe: "1D" | "1H" | "5M" | "1M" | "1M_DECIMATED";
                /**
                 * @description last UTC date, included; `to` is understood too
                 * @example 2024-12-31
                 */
                to_date: string;
            };
            header?: {
                /**
                 * @description seconds the answer may take; only shortens the service's own limit
                 * @example 1.5
                 */
                "X-Request-Timeout"?: number;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Bars in ascending order */
            200: {
                headers: {
                    /** @description `private` and the seconds for which the data is good */
                    "Cache-Control"?: string;
                    /** @description how the cache came by the answer (RFC 9211) */
                    "Cache-Status"?: string;
                    /** @description strong tag of this format and coding */
                    ETag?: string;
                    /** @description milliseconds that the steps took */
                    "Server-Timing"?: string;
                    /** @description what else the answer depends on */
                    Vary?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        bars: {
                            close: number;
                            high: number;
                            low: number;
                            open: number;
                            /**
                             * Format: date-time
                             * @description start of the bar
                             */
                            timestamp: string;
                            /** @description days only */
                            trades?: number;
                            /** @description whole where all of the bars' are; null where the backend has none */
                            volume: number | null;
                        }[];
                        from_date: string;
                        metadata: {
                            /** @description calls that this request made */
                            backend_calls: number;
                            /** @description whether everything came from the cache */
                            cache_hit: boolean;
                            /** @description `cache`, `backend` or `mixed` */
                            data_source: string;
                            /** @description whether bars were merged to fit `target_points`: they are not those of the timeframe */
                            decimated: boolean;
                            /** @description minutes of trading per bar */
                            decimation_stride: number;
                            /** @description the start of the last bar where its data were had before it was over, so that it may still change */
                            forming?: string | null;
                            /** @description milliseconds until the bars were there */
                            load_time_ms: number;
                            /** @description true: a coarse chart, of hours; the exact one is on its way */
                            preview?: boolean;
                            /** @description how prices are to be shown, worked out from these bars */
                            price_format?: {
                                /** @description digits behind the point */
                                digits: number;
                                /** @description smallest difference of two prices */
                                min_move: number;
                            };
                            /** @description bars of the backend that were put right or left out */
                            rejected_bars: number;
                            /** @description bars that this answer was made from */
                            source_bars: number;
                            /** @description what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours */
                            source_timeframe: string;
                            /** @description whether some of it is past its freshness */
                            stale: boolean;
                            /** @description bars in this answer */
                            total_bars: number;
                            /** @description the UTC dates that these bars cover wholly: those asked for, widened to whole buckets */
                            window?: {
                                /** Format: date */
                                from_date: string;
                                /** Format: date */
                                to_date: string;
                            };
                        };
                        symbol: string;
                        timeframe: string;
                        to_date: string;
                    } | {
                        c: number[];
                        from_date: string;
                        h: number[];
                        l: number[];
                        metadata: {
                            /** @description calls that this request made */
                            backend_calls: number;
                            /** @description whether everything came from the cache */
                            cache_hit: boolean;
                            /** @description `cache`, `backend` or `mixed` */
                            data_source: string;
                            /** @description whether bars were merged to fit `target_points`: they are not those of the timeframe */
                            decimated: boolean;
                            /** @description minutes of trading per bar */
                            decimation_stride: number;
                            /** @description the start of the last bar where its data were had before it was over, so that it may still change */
                            forming?: string | null;
                            /** @description milliseconds until the bars were there */
                            load_time_ms: number;
                            /** @description true: a coarse chart, of hours; the exact one is on its way */
                            preview?: boolean;
                            /** @description how prices are to be shown, worked out from these bars */
                            price_format?: {
                                /** @description digits behind the point */
                                digits: number;
                                /** @description smallest difference of two prices */
                                min_move: number;
                            };
                            /** @description bars of the backend that were put right or left out */
                            rejected_bars: number;
                            /** @description bars that this answer was made from */
                            source_bars: number;
                            /** @description what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours */
                            source_timeframe: string;
                            /** @description whether some of it is past its freshness */
                            stale: boolean;
                            /** @description bars in this answer */
                            total_bars: number;
                            /** @description the UTC dates that these bars cover wholly: those asked for, widened to whole buckets */
                            window?: {
                                /** Format: date */
                                from_date: string;
                                /** Format: date */
                                to_date: string;
                            };
                        };
                        n?: number[];
                        o: number[];
                        /**
                         * @description as in a UDF history answer
                         * @enum {string}
                         */
                        s: "ok" | "no_data";
                        symbol: string;
                        /** @description starts of the bars, UTC seconds */
                        t: number[];
                        timeframe: string;
                        to_date: string;
                        v: (number | null)[];
                    } | {
                        /** @description as Lightweight Charts' `setData` takes them; `time` in UTC seconds */
                        candles: {
                            close: number;
                            high: number;
                            low: number;
                            open: number;
                            time: number;
                        }[];
                        from_date: string;
                        metadata: {
                            /** @description calls that this request made */
                            backend_calls: number;
                            /** @description whether everything came from the cache */
                            cache_hit: boolean;
                            /** @description `cache`, `backend` or `mixed` */
                            data_source: string;
                            /** @description whether bars were merged to fit `target_points`: they are not those of the timeframe */
                            decimated: boolean;
                            /** @description minutes of trading per bar */
                            decimation_stride: number;
                            /** @description the start of the last bar where its data were had before it was over, so that it may still change */
                            forming?: string | null;
                            /** @description milliseconds until the bars were there */
                            load_time_ms: number;
                            /** @description true: a coarse chart, of hours; the exact one is on its way */
                            preview?: boolean;
                            /** @description how prices are to be shown, worked out from these bars */
                            price_format?: {
                                /** @description digits behind the point */
                                digits: number;
                                /** @description smallest difference of two prices */
                                min_move: number;
                            };
                            /** @description bars of the backend that were put right or left out */
                            rejected_bars: number;
                            /** @description bars that this answer was made from */
                            source_bars: number;
                            /** @description what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours */
                            source_timeframe: string;
                            /** @description whether some of it is past its freshness */
                            stale: boolean;
                            /** @description bars in this answer */
                            total_bars: number;
                            /** @description the UTC dates that these bars cover wholly: those asked for, widened to whole buckets */
                            window?: {
                                /** Format: date */
                                from_date: string;
                                /** Format: date */
                                to_date: string;
                            };
                        };
                        symbol: string;
                        timeframe: string;
                        to_date: string;
                        /** @description the same for a histogram, without the bars that have no volume */
                        volume: {
                            time: number;
                            value: number;
                        }[];
                    };
                    "application/vnd.apache.arrow.stream": string;
                    "application/x-ndjson": string;
                };
            };
            /** @description The client's stored answer is still good (`If-None-Match`) */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description Not authenticated: the backend's own answer */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description Not allowed: the backend's own answer */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description Unknown symbol, or a window before or after all of its bars; `known` is what there is, `did_you_mean` the symbol in capitals where the backend has that one */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "DATASET_NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4f1d…",
                     *           "known": {
                     *             "from_date": "2024-01-02",
                     *             "to_date": "2025-12-31"
                     *           },
                     *           "symbol": "AAPL"
                     *         },
                     *         "message": "the backend has no bars in this range"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description Bad, missing or contradictory fields, each named */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4f1d…",
                     *           "fields": {
                     *             "to_date": "before from_date"
                     *           }
                     *         },
                     *         "message": "invalid: to_date"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description Too many requests: the backend's own answer */
            429: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4f1d…"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description Too much to do, or the backend is being spared */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4f1d…"
                     *         },
                     *         "message": "too many requests are waiting"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
            /** @description The deadline passed */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4f1d…"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": {
                        error: {
                            code: string;
                            details: Record<string, never>;
                            message: string;
                        };
                    };
                };
            };
        };
    };
    list_runs_api_v1_runs_get: {
        parameters: {
            query?: {
                from?: string;
                /** @description runs of a page; held to 1 to 500 */
                limit?: number;
                /** @description runs to leave out before; held to 0 and more */
                offset?: number;
                /** @description `created_at`; whatever else is `-created_at` */
                order?: string;
                strategy_id?: string;
                symbol?: string;
                to?: string;
            };
            header?: {
                "x-request-timeout"?: number;
            };
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
                    "application/json": components["schemas"]["RunPage"];
                };
            };
            /** @description The client has it (If-None-Match) */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The backend's own answer, unchanged */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "who are you?"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend's own answer, unchanged */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "FORBIDDEN",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "not yours"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description A parameter is not acceptable */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "invalid: equity_points"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description Too busy, or the backend failed too often; see Retry-After */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "too many requests"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend took too long */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
        };
    };
    complete_api_v1_runs__run_id__complete_get: {
        parameters: {
            query?: {
                /** @description most points of equity; 0: all */
                equity_points?: number;
                format?: "rows" | "columns";
                include_equity?: boolean;
                include_metrics?: boolean;
                include_orders?: boolean;
                /** @description most orders */
                orders_limit?: number;
                /** @description orders to leave out before */
                orders_offset?: number;
                /** @description parts without which the answer is an error */
                require?: string;
            };
            header?: {
                "x-request-timeout"?: number;
            };
            path: {
                run_id: string;
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
                    "application/json": components["schemas"]["CompleteRun"];
                };
            };
            /** @description The client has it (If-None-Match) */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The backend's own answer, unchanged */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "who are you?"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend's own answer, unchanged */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "FORBIDDEN",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "not yours"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description No such run, or not the part that was required */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "RUN_NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "there is no run x"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description A parameter is not acceptable */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "invalid: equity_points"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description Too busy, or the backend failed too often; see Retry-After */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "too many requests"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend took too long */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
        };
    };
    status_api_v1_runs__run_id__status_get: {
        parameters: {
            query?: never;
            header?: {
                "x-request-timeout"?: number;
            };
            path: {
                run_id: string;
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
                    "application/json": components["schemas"]["RunStatus"];
                };
            };
            /** @description The client has it (If-None-Match) */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description The backend's own answer, unchanged */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "who are you?"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend's own answer, unchanged */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "FORBIDDEN",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "not yours"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description No such run, or not the part that was required */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "RUN_NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "there is no run x"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description A parameter is not acceptable */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "invalid: equity_points"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description Too busy, or the backend failed too often; see Retry-After */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "too many requests"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend took too long */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
        };
    };
    run_view: {
        parameters: {
            query?: {
                /** @description most points of equity; 0: all */
                equity_points?: number;
                /**
                 * @description first UTC date or date-time; `from` is understood too; both dates or neither, which means the run's own window
                 * @example 2024-01-02
                 */
                from_date?: string;
                /**
                 * @description regular trading hours only
                 * @example true
                 */
                rth_only?: boolean;
                /**
                 * @description the run's symbol, where it is known: with both dates the chart need not wait for the run
                 * @example AAPL
                 */
                symbol?: string;
                /**
                 * @description most bars to answer; `target` is understood too
                 * @example 1000
                 */
                target_points?: number;
                /**
                 * @description what a bar covers
                 * @example 1H
                 */
                timeframe?: "1D" | "1H" | "5M" | "1M" | "1M_DECIMATED";
                /**
                 * @description last UTC date, included; `to` is understood too; both dates or neither, which means the run's own window
                 * @example 2024-12-31
                 */
                to_date?: string;
            };
            header?: {
                "x-request-timeout"?: number;
            };
            path: {
                run_id: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The lines */
            200: {
                headers: {
                    /** @description `private, no-store`: the parts have tags */
                    "Cache-Control"?: string;
                    /** @description what else the answer depends on */
                    Vary?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {"name":"head","status":200,"body":{"run_id":"05a0b0f6e429450f95d2598db225778b","status":"DONE",…}}
                     *     {"name":"chart","status":200,"etag":"\"4bd1…-9c0e…-zstd\"","body":{"s":"ok","symbol":"TSLA",…}}
                     *     {"name":"run","status":200,"etag":"\"81f0…-2a77…-zstd\"","body":{"run":{…},"metrics":{…},…}}
                     */
                    "application/x-ndjson": {
                        body: components["schemas"]["RunStatus"];
                        /** @enum {string} */
                        name: "head";
                        /** @enum {integer} */
                        status: 200;
                    } | {
                        body: {
                            c: number[];
                            from_date: string;
                            h: number[];
                            l: number[];
                            metadata: {
                                /** @description calls that this request made */
                                backend_calls: number;
                                /** @description whether everything came from the cache */
                                cache_hit: boolean;
                                /** @description `cache`, `backend` or `mixed` */
                                data_source: string;
                                /** @description whether bars were merged to fit `target_points`: they are not those of the timeframe */
                                decimated: boolean;
                                /** @description minutes of trading per bar */
                                decimation_stride: number;
                                /** @description the start of the last bar where its data were had before it was over, so that it may still change */
                                forming?: string | null;
                                /** @description milliseconds until the bars were there */
                                load_time_ms: number;
                                /** @description true: a coarse chart, of hours; the exact one is on its way */
                                preview?: boolean;
                                /** @description how prices are to be shown, worked out from these bars */
                                price_format?: {
                                    /** @description digits behind the point */
                                    digits: number;
                                    /** @description smallest difference of two prices */
                                    min_move: number;
                                };
                                /** @description bars of the backend that were put right or left out */
                                rejected_bars: number;
                                /** @description bars that this answer was made from */
                                source_bars: number;
                                /** @description what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours */
                                source_timeframe: string;
                                /** @description whether some of it is past its freshness */
                                stale: boolean;
                                /** @description bars in this answer */
                                total_bars: number;
                                /** @description the UTC dates that these bars cover wholly: those asked for, widened to whole buckets */
                                window?: {
                                    /** Format: date */
                                    from_date: string;
                                    /** Format: date */
                                    to_date: string;
                                };
                            };
                            n?: number[];
                            o: number[];
                            /**
                             * @description as in a UDF history answer
                             * @enum {string}
                             */
                            s: "ok" | "no_data";
                            symbol: string;
                            /** @description starts of the bars, UTC seconds */
                            t: number[];
                            timeframe: string;
                            to_date: string;
                            v: (number | null)[];
                        };
                        /** @enum {string} */
                        name: "chart_preview";
                        /** @enum {integer} */
                        status: 200;
                    } | {
                        body: {
                            c: number[];
                            from_date: string;
                            h: number[];
                            l: number[];
                            metadata: {
                                /** @description calls that this request made */
                                backend_calls: number;
                                /** @description whether everything came from the cache */
                                cache_hit: boolean;
                                /** @description `cache`, `backend` or `mixed` */
                                data_source: string;
                                /** @description whether bars were merged to fit `target_points`: they are not those of the timeframe */
                                decimated: boolean;
                                /** @description minutes of trading per bar */
                                decimation_stride: number;
                                /** @description the start of the last bar where its data were had before it was over, so that it may still change */
                                forming?: string | null;
                                /** @description milliseconds until the bars were there */
                                load_time_ms: number;
                                /** @description true: a coarse chart, of hours; the exact one is on its way */
                                preview?: boolean;
                                /** @description how prices are to be shown, worked out from these bars */
                                price_format?: {
                                    /** @description digits behind the point */
                                    digits: number;
                                    /** @description smallest difference of two prices */
                                    min_move: number;
                                };
                                /** @description bars of the backend that were put right or left out */
                                rejected_bars: number;
                                /** @description bars that this answer was made from */
                                source_bars: number;
                                /** @description what these cover: `1M`, `1H` or `1D`; a long chart of minutes is made from hours */
                                source_timeframe: string;
                                /** @description whether some of it is past its freshness */
                                stale: boolean;
                                /** @description bars in this answer */
                                total_bars: number;
                                /** @description the UTC dates that these bars cover wholly: those asked for, widened to whole buckets */
                                window?: {
                                    /** Format: date */
                                    from_date: string;
                                    /** Format: date */
                                    to_date: string;
                                };
                            };
                            n?: number[];
                            o: number[];
                            /**
                             * @description as in a UDF history answer
                             * @enum {string}
                             */
                            s: "ok" | "no_data";
                            symbol: string;
                            /** @description starts of the bars, UTC seconds */
                            t: number[];
                            timeframe: string;
                            to_date: string;
                            v: (number | null)[];
                        };
                        /** @description tag that a GET of the part alone would have, for its `If-None-Match` */
                        etag?: string;
                        /** @enum {string} */
                        name: "chart";
                        /** @enum {integer} */
                        status: 200;
                    } | {
                        body: components["schemas"]["CompleteRun"];
                        /** @description tag that a GET of the part alone would have, for its `If-None-Match` */
                        etag?: string;
                        /** @enum {string} */
                        name: "run";
                        /** @enum {integer} */
                        status: 200;
                    } | {
                        body: {
                            error: {
                                code: string;
                                details: Record<string, never>;
                                message: string;
                            };
                        };
                        /** @enum {string} */
                        name: "chart" | "run";
                        status: number;
                    };
                };
            };
            /** @description The backend's own answer, unchanged */
            401: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "UNAUTHORIZED",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "who are you?"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend's own answer, unchanged */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "FORBIDDEN",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "not yours"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description No such run, or not the part that was required */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "RUN_NOT_FOUND",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "there is no run x"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description A parameter is not acceptable */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "VALIDATION",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "invalid: equity_points"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend failed */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_UNAVAILABLE",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend cannot be reached"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description Too busy, or the backend failed too often; see Retry-After */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BUSY",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "too many requests"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            /** @description The backend took too long */
            504: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "error": {
                     *         "code": "BACKEND_TIMEOUT",
                     *         "details": {
                     *           "correlation_id": "4bf92f3577b34da6"
                     *         },
                     *         "message": "the backend did not answer within the deadline"
                     *       }
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
        };
    };
}
