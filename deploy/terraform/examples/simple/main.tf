# A router for a function that exists.

variable "vpc_id" { type = string }
variable "subnet_ids" { type = list(string) }
variable "router_image" { type = string }
variable "function_arn" { type = string }
variable "function_security_group_id" { type = string }

module "router" {
  source = "../.."

  vpc_id                     = var.vpc_id
  subnet_ids                 = var.subnet_ids
  load_balancer_subnet_ids   = var.subnet_ids
  router_image               = var.router_image
  function_arn               = var.function_arn
  function_security_group_id = var.function_security_group_id
}

output "url" {
  value = module.router.url
}
