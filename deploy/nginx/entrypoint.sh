#!/bin/sh
# Makes the values that the route map's template asks for out of a few plain settings, then starts nginx the way its
# image does. The same rules as bff_tools/nginx.py and bff_tools/origin.py.
#
#   BACKEND_URL                        http(s)://host[:port] of the backend
#   PROXY_UPSTREAM, AGGREGATOR_UPSTREAM, WSRELAY_UPSTREAM
#                                      host:port, or several with spaces between; a name may stand for many addresses
#   NGINX_RESOLVE                      auto: names are looked up again while nginx runs, where it can (1.27.3 on), so that
#                                      replicas may come and go; off: once, at start (their addresses never change)
#   NGINX_TLS_VERIFY                   on, or off for an https backend whose certificate cannot be checked
#   NGINX_TRUSTED_PROXIES              networks of a balancer in front, whose X-Forwarded-For, -Proto and -Host are believed
#   NGINX_PROXY_LISTEN                 one more address or port to listen on, for such a balancer that passes connections on and
#                                      says by the PROXY protocol whose they are; X-Forwarded-For, -Proto and -Host count no more
#   NGINX_HOSTS                        hosts that are served, as in `app.example *.app.example`; empty: any
#   BFF_ALLOWED_ORIGINS                browser origins whose pages may read nginx's own errors; the services have the same setting
#   NGINX_TLS_LISTEN, NGINX_TLS_CERTIFICATE, NGINX_TLS_KEY
#                                      a TLS listener beside the plain one, with HTTP/2; without a certificate there is none
#   FRONTEND_DIR                       folder of another single-page application to serve at /, for its routes too; empty: our page
#   FRONTEND_CSP                       content security policy of what is served at /; empty: the usual one; off: none
#   NGINX_WORKERS                      how many processes share the work; each costs 7 MB, used or not
#   NGINX_ERROR_LEVEL, NGINX_HSTS, NGINX_LISTEN, NGINX_ROOT, NGINX_ACCESS_LOG, NGINX_MAX_BODY_SIZE, NGINX_READ_TIMEOUT, NGINX_STREAM_TIMEOUT,
#   NGINX_REQUEST_RATE, NGINX_REQUEST_BURST, NGINX_STREAMS_PER_CLIENT, NGINX_UPLOADS_PER_CLIENT, NGINX_REQUESTS_PER_CLIENT
#                                      as the template says
set -euf # no word is a pattern of files: `*` is an origin

: "${BACKEND_URL:=http://demo:8000}"
: "${PROXY_UPSTREAM:=proxy:8101}" "${AGGREGATOR_UPSTREAM:=aggregator:8102}" "${WSRELAY_UPSTREAM:=wsrelay:8103}"
: "${NGINX_WORKERS:=2}" "${NGINX_HSTS:=}"
: "${NGINX_RESOLVE:=auto}" "${NGINX_TLS_VERIFY:=on}"
: "${NGINX_LISTEN:=8080}" "${NGINX_ROOT:=/usr/share/nginx/bff}" "${NGINX_ACCESS_LOG:=/dev/stdout}"
: "${NGINX_ERROR_LEVEL:=crit}" "${NGINX_MAX_BODY_SIZE:=0}" "${NGINX_READ_TIMEOUT:=120s}" "${NGINX_STREAM_TIMEOUT:=1h}"
: "${NGINX_REQUEST_RATE:=1000r/s}" "${NGINX_REQUEST_BURST:=2000}" "${NGINX_STREAMS_PER_CLIENT:=3000}"
: "${NGINX_UPLOADS_PER_CLIENT:=200}" "${NGINX_REQUESTS_PER_CLIENT:=4000}"
: "${NGINX_PROXY_LISTEN:=}" "${NGINX_TRUSTED_PROXIES:=}" "${NGINX_HOSTS:=}" "${BFF_ALLOWED_ORIGINS:=}"
: "${FRONTEND_DIR:=}" "${FRONTEND_CSP:=}"
: "${NGINX_TLS_LISTEN:=8443}" "${NGINX_TLS_CERTIFICATE:=}" "${NGINX_TLS_KEY:=}"

case $NGINX_WORKERS in auto | [1-9] | [1-9][0-9]) ;; *) echo "error: NGINX_WORKERS '$NGINX_WORKERS' is not a number from 1 to 99, nor auto" >&2 && exit 1 ;; esac

authorities=/etc/ssl/certs/ca-certificates.crt

fail() {
    echo "error: $*" >&2
    exit 1
}

# since NUMBER: whether this nginx is of that version or later; 1027003 stands for 1.27.3.
since() {
    least=$1
    version=$(nginx -v 2>&1 | sed -n 's|.*nginx/\([0-9]*\)\.\([0-9]*\)\.\([0-9]*\).*|\1 \2 \3|p')
    # shellcheck disable=SC2086  three words on purpose
    set -- $version
    [ $# -eq 3 ] && [ $(($1 * 1000000 + $2 * 1000 + $3)) -ge "$least" ]
}

# `resolve` in an upstream.
can_resolve() {
    since 1027003
}

is_address() {
    case $1 in
        *:* | *[0-9].*[0-9].*[0-9].*[0-9]) case $1 in *[!0-9a-fA-F:.]*) return 1 ;; esac ;;
        *) return 1 ;;
    esac
}

# Names of the hosts file are not in DNS, so they can only be looked up at start.
in_hosts_file() {
    awk -v name="$1" '{ for (i = 2; i <= NF; i++) if ($i == name) found = 1 } END { exit !found }' /etc/hosts
}

failing="max_fails=1 fail_timeout=1s"

# server HOST PORT: one `server` directive.
server() {
    suffix=""
    address=$1
    case $1 in *:*) address="[$1]" ;; esac
    if [ -n "$resolver" ] && ! is_address "$1" && ! in_hosts_file "$1"; then
        suffix=" resolve"
    fi
    printf 'server %s:%s %s%s; ' "$address" "$2" "$failing" "$suffix"
}

servers() {
    for word in $1; do
        host=${word%:*}
        host=${host#[}
        server "${host%]}" "${word##*:}"
    done
}

case $BACKEND_URL in
    http://*) BACKEND_SCHEME=http port=80 ;;
    https://*) BACKEND_SCHEME=https port=443 ;;
    *) fail "BACKEND_URL '$BACKEND_URL' is not of the form http://host:port" ;;
esac
BACKEND_AUTHORITY=${BACKEND_URL#*://}
BACKEND_AUTHORITY=${BACKEND_AUTHORITY%/}
case $BACKEND_AUTHORITY in
    "" | *[!A-Za-z0-9._:\[\]-]*) fail "BACKEND_URL '$BACKEND_URL' has more than scheme, host and port" ;;
    \[*\]:*) BACKEND_HOST=${BACKEND_AUTHORITY%]:*} port=${BACKEND_AUTHORITY##*:} ;;
    \[*\]) BACKEND_HOST=${BACKEND_AUTHORITY%]} ;;
    *:*) BACKEND_HOST=${BACKEND_AUTHORITY%:*} port=${BACKEND_AUTHORITY##*:} ;;
    *) BACKEND_HOST=$BACKEND_AUTHORITY ;;
esac
BACKEND_HOST=${BACKEND_HOST#[}

resolver=""
if [ "$NGINX_RESOLVE" != off ] && can_resolve; then
    resolver=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2 }' /etc/resolv.conf | tr '\n' ' ')
fi
NGINX_RESOLVER=${resolver:+"resolver ${resolver% } valid=5s; resolver_timeout 2s;"}

PROXY_SERVERS=$(servers "$PROXY_UPSTREAM")
AGGREGATOR_SERVERS=$(servers "$AGGREGATOR_UPSTREAM")
# A relay that is full says so with 503, which nginx counts as a failure; the last one's word must pass.
WSRELAY_SERVERS=$(failing=max_fails=0 && servers "$WSRELAY_UPSTREAM")
# What a client sends can make the backend break its connection off: that keeps nobody from it.
BACKEND_SERVERS=$(failing=max_fails=0 && server "$BACKEND_HOST" "$port")
case $BACKEND_SERVERS in
    *resolve*) ;;
    *)
        # nginx would not start on a name that is not known yet; everything but the backend can work meanwhile.
        if ! is_address "$BACKEND_HOST" && ! getent hosts "$BACKEND_HOST" >/dev/null; then
            echo "the backend's host $BACKEND_HOST is not known; restart nginx when it is" >&2
            BACKEND_SERVERS="server 127.0.0.1:1 down;"
        fi
        ;;
esac

BACKEND_TLS=""
if [ "$BACKEND_SCHEME" = https ] && [ "$NGINX_TLS_VERIFY" != off ]; then
    [ -r "$authorities" ] || fail "no certificate authorities at $authorities; NGINX_TLS_VERIFY=off does without"
    BACKEND_TLS="proxy_ssl_verify on; proxy_ssl_verify_depth 4; proxy_ssl_trusted_certificate $authorities;"
fi

# A regular expression for the backend's authority; a default port may be left out.
escaped=$(printf %s "$BACKEND_AUTHORITY" | sed 's/[].[]/\\&/g')
case $BACKEND_SCHEME:$port in
    http:80 | https:443) BACKEND_PATTERN="${escaped%:"$port"}(?::$port)?" ;;
    *) BACKEND_PATTERN=$escaped ;;
esac

NGINX_FALLBACK="" NGINX_CSP=$FRONTEND_CSP
if [ -n "$FRONTEND_DIR" ]; then
    [ -r "$FRONTEND_DIR/index.html" ] || fail "FRONTEND_DIR '$FRONTEND_DIR' holds no index.html"
    NGINX_ROOT=$FRONTEND_DIR NGINX_FALLBACK=/index.html
fi
case $FRONTEND_CSP in *[!\ -~]* | *[\"\$\\]*) fail "FRONTEND_CSP: '$FRONTEND_CSP' is not a policy such as default-src 'self'" ;; esac

NGINX_HTTP2=""
if since 1025001; then NGINX_HTTP2="http2 on;"; fi

NGINX_TLS=""
if [ -n "$NGINX_TLS_CERTIFICATE" ]; then
    [ -r "$NGINX_TLS_CERTIFICATE" ] || fail "NGINX_TLS_CERTIFICATE '$NGINX_TLS_CERTIFICATE' cannot be read"
    [ -r "$NGINX_TLS_KEY" ] || fail "NGINX_TLS_KEY '$NGINX_TLS_KEY' cannot be read"
    NGINX_TLS="listen $NGINX_TLS_LISTEN ssl; ssl_certificate \"$NGINX_TLS_CERTIFICATE\"; ssl_certificate_key \"$NGINX_TLS_KEY\";"
fi

NGINX_REAL_IP="" NGINX_TRUSTED=""
for network in $(printf %s "$NGINX_TRUSTED_PROXIES" | tr ',' ' '); do
    case $network in *[!0-9a-fA-F.:/]*) fail "NGINX_TRUSTED_PROXIES: '$network' is not a network such as 10.0.0.0/8" ;; esac
    NGINX_REAL_IP="${NGINX_REAL_IP}set_real_ip_from $network; "
    NGINX_TRUSTED="${NGINX_TRUSTED}$network 1; "
done
NGINX_PROXY=""
if [ -n "$NGINX_PROXY_LISTEN" ]; then
    [ -n "$NGINX_REAL_IP" ] || fail "NGINX_PROXY_LISTEN needs NGINX_TRUSTED_PROXIES, the networks of the balancer"
    # It looks at no header, so those that it passes on are the client's own words.
    NGINX_PROXY="listen $NGINX_PROXY_LISTEN proxy_protocol;" NGINX_TRUSTED=""
    NGINX_REAL_IP="${NGINX_REAL_IP}real_ip_header proxy_protocol;"
elif [ -n "$NGINX_REAL_IP" ]; then
    NGINX_REAL_IP="${NGINX_REAL_IP}real_ip_header X-Forwarded-For; real_ip_recursive on;"
fi

hosts=""
for host in $(printf %s "$NGINX_HOSTS" | tr ',' ' '); do
    case $host in *[!A-Za-z0-9._*-]*) fail "NGINX_HOSTS: '$host' is not a host such as app.example or *.app.example" ;; esac
    hosts="$hosts $host 0;"
done
if [ -n "$hosts" ]; then NGINX_HOSTS="default 1;$hosts"; else NGINX_HOSTS="default 0;"; fi

NGINX_ORIGINS="" NGINX_ORIGIN_CREDENTIALS=""
if [ -n "$BFF_ALLOWED_ORIGINS" ]; then NGINX_ORIGIN_CREDENTIALS=true; fi
for origin in $(printf %s "$BFF_ALLOWED_ORIGINS" | tr ',' ' '); do
    case $origin in
        \*) NGINX_ORIGIN_CREDENTIALS="" pattern=".+" ;;
        [A-Za-z]*://*[!A-Za-z0-9.*:_\[\]-]*) fail "BFF_ALLOWED_ORIGINS: '$origin' is not an origin such as https://app.example" ;;
        [A-Za-z]*://?*) pattern=$(printf %s "$origin" | sed 's/[].[+]/\\&/g; s/\*/[A-Za-z0-9.-]+/g') ;;
        *) fail "BFF_ALLOWED_ORIGINS: '$origin' is not an origin such as https://app.example" ;;
    esac
    NGINX_ORIGINS="$NGINX_ORIGINS\"~*^$pattern\$\" \$http_origin; "
done
NGINX_ORIGINS=${NGINX_ORIGINS% }

export BACKEND_SCHEME BACKEND_AUTHORITY BACKEND_HOST BACKEND_PATTERN BACKEND_SERVERS BACKEND_TLS
export NGINX_REQUEST_RATE NGINX_REQUEST_BURST NGINX_STREAMS_PER_CLIENT NGINX_UPLOADS_PER_CLIENT NGINX_REQUESTS_PER_CLIENT
export NGINX_PROXY NGINX_HSTS NGINX_HTTP2 NGINX_TLS NGINX_REAL_IP NGINX_TRUSTED NGINX_HOSTS NGINX_ORIGINS NGINX_ORIGIN_CREDENTIALS
export PROXY_SERVERS AGGREGATOR_SERVERS WSRELAY_SERVERS
export NGINX_LISTEN NGINX_ROOT NGINX_FALLBACK NGINX_CSP NGINX_ACCESS_LOG NGINX_RESOLVER
export NGINX_ERROR_LEVEL NGINX_MAX_BODY_SIZE NGINX_READ_TIMEOUT NGINX_STREAM_TIMEOUT

if [ "${1:-}" = nginx ]; then set -- "$@" -g "worker_processes $NGINX_WORKERS;"; fi
exec /docker-entrypoint.sh "$@"
