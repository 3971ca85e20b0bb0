// Made by `npm run generate` from the services' OpenAPI and schema/stream.schema.json; not to be edited.
export const SCHEMAS: Record<string, unknown> = {
 "RunPage": {
  "type": "object",
  "properties": {
   "items": {
    "type": "array",
    "items": {
     "$ref": "ListedRun"
    }
   },
   "limit": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "metadata": {
    "$ref": "ListMetadata"
   },
   "offset": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "total": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "items",
   "metadata"
  ]
 },
 "ListedRun": {
  "type": "object",
  "properties": {
   "created_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "duration_ms": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "extra": {
    "type": "object"
   },
   "metrics": {
    "anyOf": [
     {
      "type": "object"
     },
     {
      "type": "null"
     }
    ]
   },
   "metrics_state": {
    "type": "string",
    "enum": [
     "ok",
     "missing",
     "failed",
     "timeout",
     "skipped",
     "pending"
    ]
   },
   "run_from": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_to": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "status": {
    "type": "string"
   },
   "strategy_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "symbol": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "run_id",
   "status",
   "strategy_id",
   "symbol",
   "created_at",
   "run_from",
   "run_to",
   "duration_ms",
   "metrics",
   "metrics_state"
  ]
 },
 "ListMetadata": {
  "type": "object",
  "properties": {
   "backend_calls": {
    "type": "integer"
   },
   "load_time_ms": {
    "type": "number"
   },
   "metrics_pending": {
    "type": "integer"
   },
   "partial_data": {
    "type": "boolean"
   },
   "rejected": {
    "type": "integer"
   },
   "stale": {
    "type": "boolean"
   }
  },
  "required": [
   "load_time_ms",
   "backend_calls",
   "metrics_pending",
   "stale",
   "partial_data"
  ]
 },
 "CompleteRun": {
  "type": "object",
  "properties": {
   "equity": {
    "anyOf": [
     {
      "type": "array",
      "items": {
       "$ref": "Point"
      }
     },
     {
      "$ref": "PointColumns"
     },
     {
      "type": "null"
     }
    ]
   },
   "metadata": {
    "$ref": "Metadata"
   },
   "metrics": {
    "anyOf": [
     {
      "$ref": "RunMetrics"
     },
     {
      "type": "null"
     }
    ]
   },
   "orders": {
    "anyOf": [
     {
      "type": "array",
      "items": {
       "$ref": "Order"
      }
     },
     {
      "type": "object"
     },
     {
      "type": "null"
     }
    ]
   },
   "run": {
    "$ref": "Run"
   }
  },
  "required": [
   "run",
   "metrics",
   "equity",
   "orders",
   "metadata"
  ]
 },
 "Point": {
  "type": "object",
  "properties": {
   "drawdown": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "extra": {
    "type": "object"
   },
   "ts": {
    "type": "string"
   },
   "value": {
    "type": "number"
   }
  },
  "required": [
   "ts",
   "value",
   "drawdown"
  ]
 },
 "PointColumns": {
  "type": "object",
  "properties": {
   "drawdown": {
    "type": "array",
    "items": {
     "anyOf": [
      {
       "type": "number"
      },
      {
       "type": "null"
      }
     ]
    }
   },
   "extra": {
    "anyOf": [
     {
      "type": "array",
      "items": {
       "type": "object"
      }
     },
     {
      "type": "null"
     }
    ]
   },
   "t": {
    "type": "array",
    "items": {
     "type": "number"
    }
   },
   "value": {
    "type": "array",
    "items": {
     "type": "number"
    }
   }
  },
  "required": [
   "t",
   "value",
   "drawdown"
  ]
 },
 "Metadata": {
  "type": "object",
  "properties": {
   "backend_calls": {
    "type": "integer"
   },
   "cache_hit": {
    "type": "boolean"
   },
   "computed": {
    "type": "array",
    "items": {
     "type": "string"
    }
   },
   "data_sources": {
    "type": "array",
    "items": {
     "type": "string"
    }
   },
   "equity_points": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "equity_source_points": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "failed_sources": {
    "type": "array",
    "items": {
     "type": "string"
    }
   },
   "load_time_ms": {
    "type": "number"
   },
   "orders_count": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "partial_data": {
    "type": "boolean"
   },
   "parts": {
    "type": "object"
   },
   "revision": {
    "type": "string"
   },
   "stale": {
    "type": "boolean"
   }
  },
  "required": [
   "load_time_ms",
   "cache_hit",
   "backend_calls",
   "data_sources",
   "partial_data",
   "failed_sources",
   "stale",
   "orders_count",
   "equity_points",
   "equity_source_points",
   "computed",
   "revision",
   "parts"
  ]
 },
 "RunMetrics": {
  "type": "object",
  "properties": {
   "cagr": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "max_drawdown": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "sharpe_ratio": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "sortino_ratio": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "total_return": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "total_trades": {
    "anyOf": [
     {
      "type": "integer"
     },
     {
      "type": "null"
     }
    ]
   },
   "win_rate": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "total_return",
   "cagr",
   "max_drawdown",
   "sharpe_ratio",
   "sortino_ratio",
   "win_rate",
   "total_trades"
  ]
 },
 "Order": {
  "type": "object",
  "properties": {
   "commission": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "extra": {
    "type": "object"
   },
   "order_id": {},
   "order_type": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "price": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "quantity": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "side": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "status": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "symbol": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "ts": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "order_id",
   "ts",
   "symbol",
   "side",
   "quantity",
   "price",
   "order_type",
   "status",
   "commission"
  ]
 },
 "Run": {
  "type": "object",
  "properties": {
   "artifacts": {},
   "code_hash": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "completed_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "created_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "dataset_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "duration_ms": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "error_message": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "extra": {
    "type": "object"
   },
   "manifest": {},
   "params": {},
   "run_from": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_to": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "seed": {},
   "slippage_fees": {},
   "speed": {},
   "started_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "status": {
    "type": "string"
   },
   "strategy_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "symbol": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "run_id",
   "status",
   "strategy_id",
   "symbol",
   "created_at",
   "run_from",
   "run_to",
   "duration_ms",
   "dataset_id",
   "params",
   "seed",
   "speed",
   "slippage_fees",
   "code_hash",
   "artifacts",
   "manifest"
  ]
 },
 "RunStatus": {
  "type": "object",
  "properties": {
   "completed_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "created_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "duration_ms": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "error_message": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "finished": {
    "type": "boolean"
   },
   "progress": {
    "anyOf": [
     {
      "type": "number"
     },
     {
      "type": "null"
     }
    ]
   },
   "revision": {
    "type": "string"
   },
   "run_from": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "run_to": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "stale": {
    "type": "boolean"
   },
   "started_at": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "status": {
    "type": "string"
   },
   "strategy_id": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   },
   "symbol": {
    "anyOf": [
     {
      "type": "string"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "run_id",
   "status",
   "symbol",
   "strategy_id",
   "created_at",
   "run_from",
   "run_to",
   "duration_ms",
   "finished",
   "progress",
   "revision",
   "stale"
  ]
 },
 "Chart": {
  "type": "object",
  "properties": {
   "from_date": {
    "type": "string"
   },
   "metadata": {
    "type": "object",
    "properties": {
     "backend_calls": {
      "type": "integer"
     },
     "cache_hit": {
      "type": "boolean"
     },
     "data_source": {
      "type": "string"
     },
     "decimated": {
      "type": "boolean"
     },
     "decimation_stride": {
      "type": "integer"
     },
     "forming": {
      "anyOf": [
       {
        "type": "string"
       },
       {
        "type": "null"
       }
      ]
     },
     "load_time_ms": {
      "type": "number"
     },
     "preview": {
      "type": "boolean"
     },
     "price_format": {
      "type": "object",
      "properties": {
       "digits": {
        "type": "integer"
       },
       "min_move": {
        "type": "number"
       }
      },
      "required": [
       "digits",
       "min_move"
      ]
     },
     "rejected_bars": {
      "type": "integer"
     },
     "source_bars": {
      "type": "integer"
     },
     "source_timeframe": {
      "type": "string"
     },
     "stale": {
      "type": "boolean"
     },
     "total_bars": {
      "type": "integer"
     },
     "window": {
      "type": "object",
      "properties": {
       "from_date": {
        "type": "string"
       },
       "to_date": {
        "type": "string"
       }
      },
      "required": [
       "from_date",
       "to_date"
      ]
     }
    },
    "required": [
     "total_bars",
     "source_bars",
     "source_timeframe",
     "decimated",
     "decimation_stride",
     "rejected_bars",
     "cache_hit",
     "stale",
     "load_time_ms",
     "backend_calls",
     "data_source"
    ]
   },
   "symbol": {
    "type": "string"
   },
   "timeframe": {
    "type": "string"
   },
   "to_date": {
    "type": "string"
   },
   "columns": {
    "type": "object",
    "properties": {
     "t": {
      "type": "array",
      "items": {
       "type": "integer"
      }
     },
     "o": {
      "type": "array",
      "items": {
       "type": "number"
      }
     },
     "h": {
      "type": "array",
      "items": {
       "type": "number"
      }
     },
     "l": {
      "type": "array",
      "items": {
       "type": "number"
      }
     },
     "c": {
      "type": "array",
      "items": {
       "type": "number"
      }
     },
     "v": {
      "type": "array",
      "items": {
       "anyOf": [
        {
         "type": "number"
        },
        {
         "type": "null"
        }
       ]
      }
     }
    },
    "required": [
     "t",
     "o",
     "h",
     "l",
     "c",
     "v"
    ]
   }
  },
  "required": [
   "from_date",
   "metadata",
   "symbol",
   "timeframe",
   "to_date",
   "columns"
  ]
 },
 "StreamMessage": {
  "anyOf": [
   {
    "$ref": "Hello"
   },
   {
    "$ref": "Position"
   },
   {
    "$ref": "Frame"
   },
   {
    "$ref": "Extent"
   },
   {
    "$ref": "Status"
   },
   {
    "$ref": "Err"
   },
   {
    "$ref": "Echo"
   },
   {
    "$ref": "End"
   },
   {
    "$ref": "ReadyAck"
   },
   {
    "$ref": "Heartbeat"
   }
  ]
 },
 "Hello": {
  "type": "object",
  "properties": {
   "t": {
    "const": "hello"
   },
   "epoch": {
    "type": [
     "string",
     "null"
    ]
   },
   "seq": {
    "type": "integer"
   },
   "total": {
    "type": [
     "integer",
     "null"
    ]
   },
   "from": {
    "type": [
     "string",
     "null"
    ]
   },
   "to": {
    "type": [
     "string",
     "null"
    ]
   },
   "fps": {
    "type": "number"
   },
   "speed": {
    "type": "number"
   },
   "bar": {
    "$ref": "BarSize"
   },
   "resumed": {
    "type": "boolean"
   }
  },
  "required": [
   "t",
   "epoch",
   "seq",
   "total",
   "from",
   "to",
   "fps",
   "speed"
  ]
 },
 "BarSize": {
  "enum": [
   1,
   2,
   3,
   5,
   10,
   13,
   15,
   26,
   30,
   39,
   60,
   120,
   180,
   "session"
  ]
 },
 "Position": {
  "type": "object",
  "properties": {
   "t": {
    "const": "position"
   },
   "seq": {
    "type": "integer"
   },
   "ts": {
    "type": [
     "string",
     "null"
    ]
   },
   "peak": {
    "anyOf": [
     {
      "$ref": "Equity"
     },
     {
      "type": "null"
     }
    ]
   },
   "orders": {
    "type": "integer"
   },
   "size": {
    "$ref": "BarSize"
   },
   "bar": {
    "anyOf": [
     {
      "$ref": "Bar"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "t",
   "seq",
   "ts",
   "peak",
   "orders",
   "size",
   "bar"
  ]
 },
 "Equity": {
  "type": "object",
  "properties": {
   "ts": {
    "type": "string"
   },
   "value": {
    "type": "number"
   }
  },
  "required": [
   "ts",
   "value"
  ]
 },
 "Bar": {
  "type": "object",
  "properties": {
   "t": {
    "type": "integer"
   },
   "o": {
    "type": [
     "number",
     "null"
    ]
   },
   "h": {
    "type": [
     "number",
     "null"
    ]
   },
   "l": {
    "type": [
     "number",
     "null"
    ]
   },
   "c": {
    "type": [
     "number",
     "null"
    ]
   },
   "v": {
    "type": "number"
   },
   "closed": {
    "type": "boolean"
   }
  },
  "required": [
   "t",
   "o",
   "h",
   "l",
   "c",
   "v",
   "closed"
  ]
 },
 "Frame": {
  "type": "object",
  "properties": {
   "t": {
    "const": "frame"
   },
   "ts": {
    "type": "string"
   },
   "ohlc": {
    "anyOf": [
     {
      "$ref": "Ohlc"
     },
     {
      "type": "null"
     }
    ]
   },
   "orders": {
    "type": "array",
    "items": {
     "type": "object"
    }
   },
   "equity": {
    "anyOf": [
     {
      "$ref": "Equity"
     },
     {
      "type": "null"
     }
    ]
   },
   "n": {
    "type": "integer"
   },
   "seq": {
    "type": "integer"
   },
   "dropped": {
    "type": "integer"
   },
   "bars": {
    "type": "array",
    "items": {
     "$ref": "Bar"
    }
   },
   "peak": {
    "anyOf": [
     {
      "$ref": "Equity"
     },
     {
      "type": "null"
     }
    ]
   }
  },
  "required": [
   "t",
   "ts",
   "ohlc",
   "orders",
   "equity",
   "n",
   "seq",
   "dropped"
  ]
 },
 "Ohlc": {
  "type": "object",
  "properties": {
   "o": {
    "type": "number"
   },
   "h": {
    "type": "number"
   },
   "l": {
    "type": "number"
   },
   "c": {
    "type": "number"
   },
   "v": {
    "type": "number"
   }
  },
  "required": [
   "o",
   "h",
   "l",
   "c",
   "v"
  ]
 },
 "Extent": {
  "type": "object",
  "properties": {
   "t": {
    "const": "extent"
   },
   "total": {
    "type": "integer"
   },
   "from": {
    "type": [
     "string",
     "null"
    ]
   },
   "to": {
    "type": [
     "string",
     "null"
    ]
   }
  },
  "required": [
   "t",
   "total",
   "from",
   "to"
  ]
 },
 "Status": {
  "type": "object",
  "properties": {
   "t": {
    "const": "status"
   },
   "state": {
    "enum": [
     "waiting",
     "reconnecting",
     "live",
     "epoch",
     "draining"
    ]
   },
   "retry_ms": {
    "type": "integer"
   },
   "attempt": {
    "type": "integer"
   },
   "epoch": {
    "type": "string"
   },
   "ts": {
    "type": [
     "string",
     "null"
    ]
   },
   "reason": {
    "enum": [
     "changed",
     "unknown",
     "known"
    ]
   },
   "malformed": {
    "type": "integer"
   }
  },
  "required": [
   "t",
   "state"
  ]
 },
 "Err": {
  "type": "object",
  "properties": {
   "t": {
    "const": "err"
   },
   "code": {
    "enum": [
     "VALIDATION",
     "RANGE",
     "RUN_NOT_FOUND",
     "UNAUTHORIZED",
     "FORBIDDEN",
     "STREAM_ERROR",
     "TOO_LARGE",
     "BUSY",
     "INTERNAL"
    ]
   },
   "msg": {
    "type": "string"
   },
   "details": {
    "type": "object"
   }
  },
  "required": [
   "t",
   "code",
   "msg"
  ]
 },
 "Echo": {
  "type": "object",
  "properties": {
   "t": {
    "const": "ctrl"
   },
   "cmd": {
    "$ref": "Command"
   },
   "echo": {
    "const": true
   }
  },
  "required": [
   "t",
   "cmd",
   "echo"
  ]
 },
 "Command": {
  "enum": [
   "play",
   "pause",
   "seek",
   "speed",
   "fps",
   "step",
   "bar"
  ]
 },
 "End": {
  "type": "object",
  "properties": {
   "t": {
    "const": "end"
   }
  },
  "required": [
   "t"
  ]
 },
 "ReadyAck": {
  "type": "object",
  "properties": {
   "t": {
    "const": "ready_ack"
   }
  },
  "required": [
   "t"
  ]
 },
 "Heartbeat": {
  "type": "object",
  "properties": {
   "t": {
    "const": "hb"
   }
  },
  "required": [
   "t"
  ]
 }
};
