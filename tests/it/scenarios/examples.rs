//! The examples of the repository, as their readers run them.

use stack_tests::{World, eventually, get, request};

#[test]
fn hello_needs_nothing_but_the_binary() {
    let world = World::new("hello");
    world.copy("examples/hello");
    world.stack(&["up", "-d"]).ok();
    let first = eventually("the page is there", || get(8080, "/"));
    let second = get(8080, "/").unwrap();
    assert_ne!(first, second, "the counter behind the page counts");
    assert!(world.stack(&["ps"]).ok().stdout.contains("hello-web-1"));
}

#[test]
fn shop_serves_a_request_through_nginx_python_postgresql_and_redis() {
    let world = World::new("shop");
    world.copy("examples/shop");
    world.stack(&["up", "--wait"]).ok();
    eventually("nginx passes requests on", || request(8080, "POST", "/items", "{\"name\": \"teapot\"}"));
    let page = get(8080, "/").unwrap();
    assert!(page.contains("teapot") && page.contains("\"orders\": 1"), "{page}");
    // The row is in the volume: it outlives the containers.
    world.stack(&["down"]).ok();
    world.stack(&["up", "--wait"]).ok();
    assert!(eventually("the row is still there", || get(8080, "/")).contains("teapot"));
}
