//! The one test binary; its modules mirror `src/`.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod steps;
