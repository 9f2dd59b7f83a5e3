//! INSPUR's SLB API and the token services before it. What is spelled as the API spells it stays in here.

mod loose;
// the client, which comes next, is what calls it
#[expect(dead_code, unreachable_pub)]
mod wire;
