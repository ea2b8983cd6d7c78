#!/bin/sh
# Makes a cluster in an empty PGDATA, then becomes PostgreSQL. Settings: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB,
# POSTGRES_HOST_AUTH_METHOD.
set -eu

: "${PGDATA:=/var/lib/postgresql/data}"
: "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
: "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
making="$PGDATA/.being-made"

# A shell as PID 1 ignores signals that it does not trap, and runs traps only between commands: hence `wait`.
child=
trap 'test -z "$child" || kill "$child" 2>/dev/null || true; exit 143' TERM INT QUIT
run() {
    "$@" &
    child=$!
    wait "$child"
    child=
}

as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "$@"
    else
        "$@"
    fi
}

# Quotes for SQL: an identifier between double quotes.
identifier() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/"/""/g')"
}

make_cluster() {
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        echo "postgres: set POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust for a database open to its networks" >&2
        exit 1
    fi
    # What an interrupted start left is not a cluster; without the mark, files here are the user's and stay.
    if [ -e "$making" ]; then
        find "$PGDATA" -mindepth 1 -delete
    elif [ -n "$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found)" ]; then
        echo "postgres: $PGDATA is not empty and holds no cluster" >&2
        exit 1
    fi
    as_postgres mkdir "$making" "$making/cluster"
    printf '%s' "${POSTGRES_PASSWORD:-}" > "$making/password"
    test "$(id -u)" != 0 || chown postgres: "$making/password"
    set -- --pgdata="$making/cluster" --username="$POSTGRES_USER" --encoding=UTF8 --locale=C.UTF-8
    if [ -n "${POSTGRES_PASSWORD:-}" ]; then
        set -- "$@" --pwfile="$making/password"
    fi
    run as_postgres initdb --auth-local=trust --auth-host=scram-sha-256 "$@" > /dev/null
    rm "$making/password"
    if [ "$POSTGRES_DB" != postgres ]; then
        echo "CREATE DATABASE $(identifier "$POSTGRES_DB");" > "$making/create.sql"
        run as_postgres sh -c 'exec postgres --single -D "$1/cluster" postgres < "$1/create.sql"' sh "$making" > /dev/null
        rm "$making/create.sql"
    fi
    echo "host all all all $POSTGRES_HOST_AUTH_METHOD" >> "$making/cluster/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$making/cluster/postgresql.conf"
    # PG_VERSION comes last: with it, the cluster is whole.
    find "$making/cluster" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
    mv "$making/cluster/PG_VERSION" "$PGDATA"
    echo "postgres: made a cluster with database $POSTGRES_DB"
}

if [ "${1:-postgres}" = postgres ]; then
    mkdir -p "$PGDATA"
    if [ "$(id -u)" = 0 ]; then
        chown postgres: "$PGDATA"
        mkdir -p /var/run/postgresql
        chown postgres: /var/run/postgresql
    fi
    as_postgres chmod 0700 "$PGDATA"
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        make_cluster
    fi
    as_postgres rm -rf "$making"
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "$@"
    fi
fi
exec "$@"
