//! Bridges, veths, addresses, routes and the nftables table of a project.
